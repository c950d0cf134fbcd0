"""How many processes one store bears: simulated members, a real server.

    python -m bench.store_members [MEMBERS] [SECONDS]

Rule: each member has its own two connections and asks as a proxy does (pacing/allocations.py
says how often); only what a proxy does besides is left out.  Prints commands a second, the
store's CPU, and how far what all members hold is from what there is.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from importlib import resources

from mitmthrottle.pacing import Allocation, Answer, Budget, Demand
from tests.e2e.store_server import StoreServer, running_store

FLEET, BUDGET = "mt:{bench}", "mt:{bench}:budget"
RATE = 1e9


class Wire(asyncio.Protocol):
    """One connection: whole answers of the store's script, or whatever a channel says."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self.answer: asyncio.Future[list[bytes]] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.answer is None or self.answer.done():
            return
        self._data += data
        lines = self._data.split(b"\r\n")
        if lines[0].startswith(b"-"):
            self.answer.set_exception(RuntimeError(lines[0].decode()))
        elif len(lines) - 1 >= self._lines(lines):
            self._data = b""
            self.answer.set_result(lines)

    @staticmethod
    def _lines(lines: list[bytes]) -> int:
        """How many lines the whole answer has: a text takes two, a number one."""
        wanted = 1
        for _ in range(int(lines[0][1:] or 0)):
            if wanted >= len(lines):
                return wanted + 1
            wanted += 2 if lines[wanted].startswith(b"$") else 1
        return wanted

    def send(self, *words: str) -> None:
        assert self.transport is not None
        text = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        self.transport.write(f"*{len(words)}\r\n{text}".encode())


class Member:
    """A process with so many responses that could use more."""

    def __init__(self, number: int, backlogged: int) -> None:
        self.name = f"m{number:04d}"
        self.backlogged = backlogged
        self.part = Allocation("budget", Budget(RATE, None, 0.0), lambda part: None)
        self.serial = 0
        self.calls = 0
        self.took_s: list[float] = []

    @property
    def holds(self) -> float:
        return self.part.told or 0.0

    async def run(self, server: StoreServer, sha: str) -> None:
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(Wire, server.address, server.port)
        channel.send("SUBSCRIBE", f"{FLEET}:{self.name}")
        _, wire = await loop.create_connection(Wire, server.address, server.port)
        await asyncio.sleep(random.random() * 0.5)
        while True:
            demand = Demand(self.backlogged, 0, 0.0, self.part.told)
            self.serial += 1
            self.part.reported = begun = time.perf_counter()
            wire.answer = loop.create_future()
            held = "-1" if demand.held is None else repr(demand.held)
            wire.send(
                *("EVALSHA", sha, "2", FLEET, BUDGET, self.name, "1", str(self.serial), "1"),
                *("clock", "0", str(self.backlogged), "0", "0", held),
            )
            lines = await wire.answer
            self.took_s.append(time.perf_counter() - begun)
            self.calls += 1
            words = [line.decode() for line in lines if line[:1] not in (b"*", b"$", b"")]
            answer = Answer(float(words[3]), float(words[4]), int(words[5].lstrip(":")))
            self.part.answered(answer, demand, time.perf_counter())
            await asyncio.sleep(max(0.0, self.part.due_at() - time.perf_counter()))


def wrong(members: list[Member]) -> float:
    """The mean difference between what a member holds and its fair part, over the fair part."""
    whole = sum(member.backlogged for member in members)
    return statistics.mean(abs(m.holds / (m.backlogged / whole) - 1) for m in members)


async def bench(server: StoreServer, count: int, seconds: float) -> None:
    script = resources.files("mitmthrottle.store").joinpath("allocations.lua").read_text()
    sha = server.ask("SCRIPT", "LOAD", script).split("\r\n")[-1]
    members = [Member(n, random.randint(1, 9)) for n in range(count)]
    started = time.perf_counter()
    tasks = [asyncio.create_task(member.run(server, sha)) for member in members]
    fair_after = None
    while time.perf_counter() - started < 10 and fair_after is None:
        await asyncio.sleep(0.05)
        if all(member.calls for member in members) and wrong(members) < 0.02:
            fair_after = time.perf_counter() - started
    print(f"server: {server.version()}, {count} members of one budget")
    print(f"from the first connection until all are within 2 % in the mean: {fair_after} s")
    for member in members:
        member.took_s.clear()
    calls, cpu, begun = sum(m.calls for m in members), server.cpu_s(), time.perf_counter()
    own = time.process_time()
    sums = []
    while time.perf_counter() - begun < seconds:
        await asyncio.sleep(0.05)
        sums.append(sum(member.holds for member in members))
    span = time.perf_counter() - begun
    took = sorted(1000 * each for member in members for each in member.took_s)
    print(f"calls a second: {(sum(m.calls for m in members) - calls) / span:.0f}")
    print(f"the store's CPU: {(server.cpu_s() - cpu) / span:.1%} of a core; "
          f"this program's: {(time.process_time() - own) / span:.1%}")  # fmt: skip
    print(
        f"sum of what is held: {min(sums):.4f} to {max(sums):.4f}; mean error {wrong(members):.3%}"
    )
    print(f"a call takes {statistics.median(took):.2f} ms (median), "
          f"{took[int(len(took) * 0.99)]:.2f} ms (p99)")  # fmt: skip
    for member in members[: count // 10]:
        member.backlogged *= 5
    begun = time.perf_counter()
    most = 0.0
    while time.perf_counter() - begun < 10:
        await asyncio.sleep(0.05)
        most = max(most, sum(member.holds for member in members))
        if wrong(members) < 0.02:
            break
    print(f"a tenth of them wants five times as much: all within 2 % after "
          f"{time.perf_counter() - begun:.2f} s; the sum was {most:.4f} at most")  # fmt: skip
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    with running_store() as server:
        asyncio.run(bench(server, count, seconds))


if __name__ == "__main__":
    main()
