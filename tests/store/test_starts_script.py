from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from .lua_server import LuaServer


def ask(
    server: LuaServer, waiting: int, count: int = 10, period_ms: int = 60_000
) -> tuple[int, float]:
    given, wait = server.run("starts.lua", ["k"], [str(count), str(period_ms), str(waiting)])
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
        given, wait_ms = server.run(
            "starts.lua", ["k"], [str(count), repr(1000 * period_s), str(waiting)]
        )
        starts += [server.now_s + float(wait_ms) / 1000] * int(given)
        server.now_s += pause
    starts.sort()
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            span = starts[last] - starts[first]
            assert last - first + 1 <= count + span * count / period_s + 0.1
