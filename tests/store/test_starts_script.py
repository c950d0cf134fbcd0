from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from .lua_server import LuaServer


def ask(
    server: LuaServer, waiting: int, count: int = 10, period_ms: int = 60_000
) -> tuple[int, float]:
    given, wait, _ = server.run(
        "starts.lua", ["k"], [str(count), str(period_ms), str(waiting), "0"]
    )
    return int(given), float(wait)


def test_so_many_at_once_and_then_as_the_first_ones_count_no_more() -> None:
    server = LuaServer()
    assert ask(server, 7) == (7, 0)
    server.now_s += 10
    assert ask(server, 7) == (3, 0)
    assert ask(server, 7) == (1, 50_000)  # the first of the seven is then a minute ago
    assert ask(server, 1) == (1, 50_000)
    server.now_s += 50
    assert ask(server, 9) == (5, 0)
    server.now_s += 600
    assert ask(server, 50) == (10, 0)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 5, 20, 1500]),
    st.floats(0.01, 100),
    st.lists(st.tuples(st.integers(1, 8), st.floats(0, 10)), max_size=60),
)
def test_never_more_than_the_limit_in_any_window(
    count: int, period_s: float, asked: list[tuple[int, float]]
) -> None:
    server = LuaServer()
    starts: list[float] = []
    for waiting, pause in asked:
        waiting *= count // 100 + 1
        given, wait_ms, _ = server.run(
            "starts.lua", ["k"], [str(count), repr(1000 * period_s), str(waiting), "0"]
        )
        starts += [server.now_s + float(wait_ms) / 1000] * int(given)
        server.now_s += pause
    starts.sort()
    for begin in set(starts):
        assert sum(1 for at in starts if begin <= at < begin + period_s - 0.002) <= count


def test_an_emptied_store_is_told() -> None:
    server = LuaServer()
    _, _, full = server.run("starts.lua", ["k"], ["10", "60000", "8", "0"])
    assert float(full) == 60_000
    server.emptied()
    server.now_s += 1
    assert server.run("starts.lua", ["k"], ["10", "60000", "5", "8"])[:2] == ["2", "0.000"]
    assert server.run("starts.lua", ["k"], ["10", "60000", "5", "8"])[0] == "1"
