from __future__ import annotations

import asyncio
import time

from mitmthrottle.policy import parse_policy
from mitmthrottle.proxy.effects import Parties
from mitmthrottle.proxy.turns import Turns

POLICY = """
version: 1
name: turns
rules:
  - name: few
    when: {host: .example.com}
    then: {requests: {limit: 10 / s, per: client}}
"""


def test_so_many_may_start_and_the_others_wait_their_turn() -> None:
    limits = parse_policy(POLICY, "p").rules[0].then.requests

    async def run() -> list[float]:
        turns, started = Turns(), list[float]()
        begin = time.monotonic()
        me, other = (Parties("", client, "") for client in ("me", "other"))
        tasks = [
            turns.take("few", limits, me, lambda: started.append(time.monotonic() - begin))
            for _ in range(15)
        ]
        others = list[float]()
        tasks.append(turns.take("few", limits, other, lambda: others.append(time.monotonic())))
        gone = turns.take("few", limits, me, lambda: started.append(-1.0))
        gone.cancel()
        await asyncio.gather(*tasks)
        assert others[0] - begin < 0.2
        assert len(turns) == 2
        return started

    started = asyncio.run(run())
    assert len(started) == 15
    assert sum(1 for at in started if at < 0.09) == 10
    assert 0.4 < started[-1] < 0.9


def test_a_late_loop_does_not_change_their_order() -> None:
    """aiolimiter by itself lets whoever wakes first go first, after a machine's hiccup the last."""
    limits = parse_policy(POLICY, "p").rules[0].then.requests

    async def run() -> list[int]:
        turns, started = Turns(), list[int]()
        me = Parties("", "me", "")
        tasks = list[asyncio.Task[None]]()
        for number in range(20):
            tasks.append(turns.take("few", limits, me, lambda n=number: started.append(n)))
            await asyncio.sleep(0.01)
        time.sleep(0.25)  # the hiccup: whoever waits for a time wakes at once with the others
        await asyncio.gather(*tasks)
        return started

    assert asyncio.run(run()) == list(range(20))
