"""The arithmetic of shared budgets: the real script, a clock that is told, any order of calls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .crowd import BUDGET, FLEET, Member, fair_parts
from .lua_server import LuaServer

FLOOR = 1 / 16  # what may be given out besides, while others have not given back yet


def crowd(*backlogged: int) -> tuple[LuaServer, list[Member]]:
    server = LuaServer()
    server.hashes[FLEET]["#epoch"] = "1"  # it has been there for long
    members = [Member(server, f"m{n}", count) for n, count in enumerate(backlogged)]
    return server, members


def rounds(server: LuaServer, members: list[Member], count: int) -> None:
    for _ in range(count):
        for member in members:
            member.report()
            server.now_s += 0.1 / len(members)


def parts(members: list[Member]) -> list[float]:
    return [member.uses for member in members]


def test_the_first_has_all_of_it_at_once() -> None:
    _, (one,) = crowd(3)
    answer = one.report()
    assert answer is not None
    assert (answer.part, answer.sharing) == (1.0, 1)
    assert answer.each == pytest.approx(1 / 3)


def test_equal_parts_for_responses_wherever_they_run() -> None:
    server, members = crowd(150, 30, 15, 5)
    rounds(server, members, 4)
    assert parts(members) == pytest.approx([0.75, 0.15, 0.075, 0.025])
    assert sum(parts(members)) <= 1 + 1e-9


def test_what_one_cannot_use_flows_to_the_others() -> None:
    server, members = crowd(75, 15, 7, 3)
    for member, limited in zip(members, (75, 15, 8, 2), strict=True):
        member.limited, member.needed = limited, limited / 200 / 4
    rounds(server, members, 5)
    each = (1 - 100 / 200 / 4) / 100
    assert parts(members) == pytest.approx(
        [m.backlogged * each + m.needed for m in members], rel=1e-6
    )


def test_who_needs_less_and_then_more_gets_it() -> None:
    server, (busy, idle) = crowd(1, 0)
    idle.limited, idle.needed = 1, 0.01
    rounds(server, [busy, idle], 5)
    assert busy.uses > 0.9
    assert idle.uses > 0.01  # so that it can show when it needs more
    idle.limited, idle.backlogged = 0, 1
    rounds(server, [busy, idle], 3)
    assert parts([busy, idle]) == pytest.approx([0.5, 0.5])


def test_one_that_has_left_gives_back_at_once() -> None:
    server, (one, other) = crowd(1, 1)
    rounds(server, [one, other], 3)
    one.backlogged = 0
    one.report()
    other.report()
    assert other.uses == pytest.approx(1.0)


def test_a_killed_process_is_missed_within_a_second() -> None:
    server, (one, other) = crowd(1, 1)
    rounds(server, [one, other], 3)
    server.listeners.remove(f"{FLEET}:m0")  # the kernel has closed its connection
    started = server.now_s
    while other.uses < 0.99:
        server.now_s += 0.2
        other.report()
        assert server.now_s - started < 1.5


def test_what_a_process_holds_that_is_cut_off_is_kept_for_it() -> None:
    server, (one, other) = crowd(1, 1)
    rounds(server, [one, other], 3)
    for _ in range(150):
        server.now_s += 0.2
        other.report()
        assert other.uses == pytest.approx(0.5)
    one.report()
    assert one.uses == pytest.approx(0.5)


def test_but_not_for_ever() -> None:
    server, (one, other) = crowd(1, 1)
    rounds(server, [one, other], 3)
    server.now_s += 61
    other.report()
    server.now_s += 0.4
    other.report()
    assert other.uses == pytest.approx(1.0)


def test_a_lost_answer_gives_nothing_out_twice() -> None:
    _, (one, other) = crowd(1, 1)
    one.report()
    one.send()  # it is told to give half of it back, and never hears of it
    other.report()
    one.send()
    other.report()
    assert one.uses == 1.0
    assert other.uses <= FLOOR


def test_a_call_that_comes_late_is_dropped() -> None:
    _, (one,) = crowd(1)
    one.report()
    one.serial = 0
    one.backlogged = 5
    assert one.report() is None


def test_an_emptied_store_gives_nobody_more_than_it_had() -> None:
    server, members = crowd(150, 30, 15, 5)
    rounds(server, members, 4)
    before = parts(members)
    server.emptied()
    for _ in range(4):
        for member in reversed(members):
            member.report()
            server.now_s += 0.1
            assert sum(parts(members)) <= 1 + FLOOR
    assert parts(members) == pytest.approx(before)
    server.now_s += 1
    members[0].backlogged, members[3].backlogged = 5, 150
    rounds(server, members, 4)
    assert parts(members) == pytest.approx([0.025, 0.15, 0.075, 0.75])


def test_the_clock_of_a_policy_is_common() -> None:
    server, (one, other) = crowd(1, 1)
    assert float(one.send()[2]) == 0
    server.now_s += 10
    assert float(other.send()[2]) == 10_000
    server.emptied()
    one.elapsed_ms = 12_000
    assert float(one.send()[2]) == 12_000
    assert float(other.send()[2]) == 12_000


def test_keys_tell_nothing_but_numbers() -> None:
    server, members = crowd(2, 2)
    rounds(server, members, 2)
    assert set(server.hashes[BUDGET]) == {"#", "m0", "m1"}


demands = st.tuples(st.integers(0, 40), st.integers(0, 40), st.floats(0, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(demands, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_it_converges_to_the_fair_parts(wishes: list[tuple[int, int, float]], rng: object) -> None:
    server, members = crowd(*(0 for _ in wishes))
    for member, (backlogged, limited, needed) in zip(members, wishes, strict=True):
        member.backlogged, member.limited = backlogged, limited
        member.needed = needed if limited else 0.0
    members = [member for member in members if member.backlogged or member.limited]
    rounds(server, members, 8)
    expected = fair_parts(members)
    for member, part in zip(members, expected, strict=True):
        assert member.uses == pytest.approx(part, rel=0.02, abs=1e-3)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, tuple[int, int, float], float]]:
    steps = st.tuples(
        st.sampled_from(["report", "report", "lose", "late", "kill", "change"]),
        st.integers(0, 5),
        demands,
        st.floats(0, 0.4),
    )
    return draw(st.lists(steps, max_size=80))


@settings(max_examples=150, deadline=None)
@given(histories())
def test_never_more_than_all_of_it_is_given_out(
    history: list[tuple[str, int, tuple[int, int, float], float]],
) -> None:
    """Whatever is lost, late, or killed: the sum of what is used is at most 1, and a sixteenth
    while others have not given back yet."""
    server, members = crowd(*(1 for _ in range(6)))
    on_their_way: dict[int, list[str]] = {}
    for what, index, (backlogged, limited, needed), pause in history:
        member = members[index]
        if index in on_their_way:  # one call at a time: its answer comes now
            member.hear(on_their_way.pop(index))
        if what == "change":
            member.backlogged, member.limited = backlogged, limited
            member.needed = needed if limited else 0.0
        elif what == "lose":
            member.send()
        elif what == "late":
            on_their_way[index] = member.send()
        elif what == "kill":
            server.listeners.discard(f"{FLEET}:{member.name}")
            members[index] = Member(server, f"{member.name}+", 1)
        member = members[index]
        if what == "report":
            member.report()
        server.now_s += pause
        assert sum(parts(members)) <= 1 + FLOOR + 1e-3
