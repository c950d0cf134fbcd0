"""Clients that come, look at this and that, lose patience, stall, vanish, and return.

Rule: each does what its dice say, and the dice are seeded: the same run has the same visitors.
Runs in a process of its own: `python -m bench.visitors SECONDS` reads a list of links from
standard input and at the end writes how often what happened.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence

from .h1 import H1Connection
from .h2 import H2Connection
from .plan import Link
from .record import Record

VISITORS = 60
ADDRESSES = 150  # fewer than visits: they return
ALL_AT_ONCE_S = 1e9  # arrivals are of no interest here: merge them all
PATHS = ("each", "client", "connection", "all", "late", "free")
CONNECT_S = 10.0

Connection = H1Connection | H2Connection


class Visitor:
    """One after another, for as long as the bench runs."""

    def __init__(self, links: Sequence[Link], number: int, seen: Counter[str]) -> None:
        self._links = links
        self._dice = random.Random(number)
        self._seen = seen

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._dice.expovariate(1.0))
            try:
                await self._visit()
            except (OSError, TimeoutError) as error:
                self._seen[f"failed: {type(error).__name__}"] += 1

    async def _visit(self) -> None:
        link = self._dice.choice(self._links)
        source = f"127.0.1.{1 + self._dice.randrange(ADDRESSES)}"
        kind = H1Connection if link.protocol == "h1" else H2Connection
        async with asyncio.timeout(CONNECT_S):
            connection = await kind.open(link, ALL_AT_ONCE_S, source)
        self._seen[f"visits over {link.protocol}"] += 1
        try:
            for _ in range(self._dice.randint(1, 6)):
                if not connection.usable:
                    break
                await self._look_at(connection)
        finally:
            connection.close()

    async def _look_at(self, connection: Connection) -> None:
        rule = self._dice.choice(PATHS)
        # Where nothing paces, 200 MB would only show what mitmproxy does by itself.
        sizes = ("1k", "20k") if rule == "free" else ("1k", "20k", "20k", "200M")
        path = f"/{rule}/{self._dice.choice(sizes)}"
        ended: asyncio.Future[Record] = asyncio.get_running_loop().create_future()

        def done(record: Record) -> None:
            if not ended.done():
                ended.set_result(record)

        record = Record("visit", 0, 0.0)
        connection.ask(path, record, done)
        patience = self._dice.expovariate(1 / 4.0)
        await asyncio.wait([ended], timeout=patience)
        if ended.done():
            self._seen[record.ended.partition(":")[0]] += 1
            return
        what = self._dice.choice(("abort", "abort", "stall and abort", "stall and go on", "vanish"))
        self._seen[what] += 1
        if what.startswith("stall"):
            connection.read(False)
            await asyncio.sleep(self._dice.uniform(2.0, 20.0))
            connection.read(True)
        if what == "stall and go on":
            await asyncio.wait([ended], timeout=patience)
        if what == "vanish":
            connection.close()
        elif not ended.done():
            connection.abort(record)


async def visit(links: Sequence[Link], seconds: float) -> Counter[str]:
    seen: Counter[str] = Counter()
    tasks = [asyncio.create_task(Visitor(links, number, seen).run()) for number in range(VISITORS)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
    return seen


def main() -> None:
    links = [Link(**each) for each in json.loads(sys.stdin.read())]
    print(json.dumps(asyncio.run(visit(links, float(sys.argv[1])))))


if __name__ == "__main__":
    main()
