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


def test_so_many_at_once_and_then_one_by_one() -> None:
    server = LuaServer()
    assert ask(server, 7) == (7, 0)
    assert ask(server, 7) == (3, 0)
    assert ask(server, 7) == (1, 6000)
    assert ask(server, 1) == (1, 12_000)
    server.now_s += 18
    assert ask(server, 5) == (1, 0)
    server.now_s += 600
    assert ask(server, 50) == (10, 0)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 20),
    st.floats(0.01, 100),
    st.lists(st.tuples(st.integers(1, 8), st.floats(0, 10)), max_size=60),
)
def test_never_more_than_a_bucket_of_that_size(
    count: int, period_s: float, asked: list[tuple[int, float]]
) -> None:
    """In any stretch of time: `count` and one for each `period / count` of it."""
    server = LuaServer()
    starts: list[float] = []
    for waiting, pause in asked:
        given, wait_ms, _ = server.run(
            "starts.lua", ["k"], [str(count), repr(1000 * period_s), str(waiting), "0"]
        )
        starts += [server.now_s + float(wait_ms) / 1000] * int(given)
        server.now_s += pause
    starts.sort()
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            span = starts[last] - starts[first]
            assert last - first + 1 <= count + span * count / period_s + 0.1


def test_an_emptied_store_is_told() -> None:
    server = LuaServer()
    _, _, full = server.run("starts.lua", ["k"], ["10", "60000", "10", "0"])
    assert float(full) == 60_000
    server.emptied()
    server.now_s += 1
    assert server.run("starts.lua", ["k"], ["10", "60000", "1", "59000"])[:2] == ["1", "5000.000"]
