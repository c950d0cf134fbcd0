"""The load client: reads a plan from standard input, does it, writes what it saw as JSON.

Rule: it runs in a process of its own and says how much CPU it used itself; one that comes near a
whole core makes the figures of that run worthless.  Lines of JSON on standard output: `begin` and
`end` of the measurement as they happen, at last `result`.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import random
import resource
import sys
import time
from typing import Any

from .h1 import H1Connection
from .h2 import H2Connection
from .plan import Job, Link, Plan
from .record import Record

Connection = H1Connection | H2Connection


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, "t": time.monotonic(), "cpu_s": cpu_s(), **facts}))
    sys.stdout.flush()


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Load:
    """One plan, being done."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records: list[Record] = []
        self._links = {link.name: link for link in plan.links}
        self._shared: dict[str, list[H2Connection]] = {}
        self._under_way: dict[int, tuple[Record, Connection]] = {}
        self._dice = random.Random(0)  # those who ask again and again must not fall into step
        self._start = asyncio.get_running_loop().time()
        self._turns = {job.name: asyncio.Event() for job in plan.jobs}
        if not plan.turns:
            for turn in self._turns.values():
                turn.set()

    async def run(self) -> None:
        for link in self.plan.links:
            if link.protocol == "h2":
                self._shared[link.name] = [
                    await H2Connection.open(link, self.plan.merge_s)
                    for _ in range(link.connections)
                ]
        self._start = asyncio.get_running_loop().time()
        say("connected")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._job(job)) for job in self.plan.jobs]
            if self.plan.turns:
                await self._take_turns()
            elif self.plan.measure_s is None:
                await asyncio.sleep(self.plan.duration_s or 0.0)
            else:
                missing = await self._all_begun()
                await asyncio.sleep(self.plan.settle_s)
                say("begin", missing=missing)
                await asyncio.sleep(self.plan.measure_s)
                say("end")
            for task in tasks:
                task.cancel()
        for record, connection in list(self._under_way.values()):
            connection.abort(record)
        for connection in itertools.chain.from_iterable(self._shared.values()):
            connection.close()

    async def _take_turns(self) -> None:
        jobs = [job.name for job in self.plan.jobs]
        order = itertools.cycle(jobs + jobs[::-1])
        for name in itertools.islice(order, self.plan.turns):
            say("turn", job=name)
            self._turns[name].set()
            await asyncio.sleep(self.plan.settle_s)
            say("begin", job=name)
            await asyncio.sleep(self.plan.measure_s or 0.0)
            say("end")
            self._turns[name].clear()

    async def _all_begun(self) -> int:
        """Wait for a first byte on every stream; how many have none after `ramp_s`."""
        wanted = sum(job.streams for job in self.plan.jobs)
        give_up = self._start + self.plan.ramp_s
        while True:
            begun = len({(r.job, r.stream) for r in self.records if r.arrivals})
            if begun >= wanted or asyncio.get_running_loop().time() > give_up:
                return wanted - begun
            await asyncio.sleep(0.1)

    async def _job(self, job: Job) -> None:
        await asyncio.sleep(max(0.0, self._start + job.start_s - self._now()))
        async with asyncio.TaskGroup() as group:
            for stream in range(job.streams):
                group.create_task(self._stream(job, stream))
                await asyncio.sleep(1.0 / self.plan.starts_per_s)

    async def _stream(self, job: Job, stream: int) -> None:
        link = self._links[job.link]
        connection: Connection | None = None
        loop = asyncio.get_running_loop()
        stop = self._start + job.stop_s if job.stop_s is not None else None
        try:
            while stop is None or self._now() < stop:
                await self._turns[job.name].wait()
                if connection is None or not connection.usable:
                    connection = await self._connection(link, stream)
                record = Record(job.name, stream, self._now())
                ended: asyncio.Future[Record] = loop.create_future()
                self._ask(connection, job.path, record, ended)
                timeout = None if stop is None else max(0.0, stop - self._now())
                if not (await asyncio.wait([ended], timeout=timeout))[0]:
                    connection.abort(record)
                if job.every_s is None:
                    return
                pause_s = job.every_s * self._dice.uniform(0.7, 1.3)
                await asyncio.sleep(max(0.0, record.started + pause_s - self._now()))
        finally:
            if isinstance(connection, H1Connection):
                connection.close()

    def _ask(
        self, connection: Connection, path: str, record: Record, ended: asyncio.Future[Record]
    ) -> None:
        def done(record: Record) -> None:
            del self._under_way[id(record)]
            if not ended.done():
                ended.set_result(record)

        self.records.append(record)
        self._under_way[id(record)] = (record, connection)
        connection.ask(path, record, done)

    async def _connection(self, link: Link, stream: int) -> Connection:
        if link.protocol == "h1":
            return await H1Connection.open(link, self.plan.merge_s)
        connections = self._shared[link.name]
        index = stream % len(connections)
        if not connections[index].usable:
            connections[index] = await H2Connection.open(link, self.plan.merge_s)
        return connections[index]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def do(plan: Plan) -> list[Record]:
    load = Load(plan)
    await load.run()
    return load.records


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    plan = Plan.from_json(sys.stdin.read())
    gc.freeze()
    gc.disable()  # a pause of the client would look like one of the proxy; runs are short
    records = asyncio.run(do(plan))
    say("result", records=[record.to_list() for record in records])


if __name__ == "__main__":
    main()
