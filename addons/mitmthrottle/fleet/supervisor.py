"""Several workers, kept running until somebody ends the whole.

Rule: one worker's end is nobody else's: it is started again while the others go on. The whole ends
when it is told to (status 0), or when no worker can run (status 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mitmthrottle.proxy.service_manager import READY as SERVING
from mitmthrottle.proxy.service_manager import VARIABLES, say_alive, tell

from .arguments import settings, without
from .program import READY, Program, say
from .store_server import MISSING, answers, find_server, store_program

START = "from mitmthrottle.fleet.start import main; main()"
"""What an interpreter is asked to run for a worker."""

STORE = "throttle_store"
STOP_S = 10.0
"""How long the workers may take to end before they are killed."""
GIVE_UP_AFTER = 3
"""Starts in a row that every worker fails, until the whole gives up."""
LOOK_EVERY_S = 0.25

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PASS_ON = (signal.SIGUSR1, signal.SIGUSR2)  # mitmproxy writes what it is busy with
_PASSWORDS = ("MITMTHROTTLE_STORE_PASSWORD", "MITMTHROTTLE_STORE_PASSWORD_FILE")


class NotStarted(RuntimeError):
    """The workers cannot run here; the message says why and what would help."""


def run_workers(
    options: Sequence[str], count: int, program: Sequence[str] = (sys.executable, "-P", "-c", START)
) -> int:
    """Run `count` mitmdumps with these options until told to end; the exit status.

    `program` starts a worker, see start.py for what follows it. Raises NotStarted.
    """
    if sys.platform != "linux":
        raise NotStarted("--workers needs Linux, where several processes can share a port")
    server = None
    if not any(settings(options, STORE)):
        server = find_server()
        if server is None:
            raise NotStarted(MISSING)
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-") as folder, _reserved_port() as port:
        fleet = _Fleet(program, options, count, port)
        return asyncio.run(fleet.run(server, Path(folder)))


@contextlib.contextmanager
def _reserved_port() -> Iterator[int]:
    """A port that nobody else gets, for `--listen-port 0`: it is bound, and nobody listens."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("", 0))
        yield int(reserved.getsockname()[1])


class _Fleet:
    """The workers and their store, while they run."""

    def __init__(
        self, program: Sequence[str], options: Sequence[str], count: int, port: int
    ) -> None:
        self._program = program
        self._options = list(options)
        self._port = port
        self._environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        for name in VARIABLES:  # the service manager hears of the whole, and from us
            self._environ.pop(name, None)
        self._told = asyncio.Event()
        self._workers = [self._worker(number) for number in range(1, count + 1)]
        self._store: Program | None = None
        self._kept: dict[Program, asyncio.Task[None]] = {}

    async def run(self, server: str | None, folder: Path) -> int:
        """Run until told to stop or hopeless. `server`: of which program to start a store."""
        loop = asyncio.get_running_loop()
        for number in _STOP:
            loop.add_signal_handler(number, self._stop)
        for number in _PASS_ON:
            loop.add_signal_handler(number, self._send, number)
        told = loop.create_task(self._told.wait())
        run = loop.create_task(self._run(server, folder))
        try:
            await asyncio.wait([told, run], return_when=asyncio.FIRST_COMPLETED)
            # What goes wrong while it ends is no news.
            return 0 if told.done() else await run
        finally:
            run.cancel()
            told.cancel()
            await self._end()

    async def _run(self, server: str | None, folder: Path) -> int:
        if server is not None and not await self._start_store(server, folder):
            say("supervisor", f"{server} does not answer on its socket")
            return 1
        # Alone, so that there is one authority, and one complaint about what is wrong.
        first = self._workers[0]
        starting = asyncio.create_task(first.ready.wait())
        trying = self._keep(first, must_start=True)
        await asyncio.wait([starting, trying], return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        if trying.done():
            return 1
        tell(SERVING)
        for worker in self._workers[1:]:
            self._keep(worker)
        alive = asyncio.create_task(say_alive(self._serves))
        try:
            while not all(worker.failures >= GIVE_UP_AFTER for worker in self._workers):
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            alive.cancel()
        say("supervisor", "no worker can run: giving up")
        return 1

    def _serves(self) -> bool:
        return any(worker.ready.is_set() for worker in self._workers)

    async def _start_store(self, server: str, folder: Path) -> bool:
        self._store, url = store_program(server, folder)
        self._options = [*without(self._options, STORE), "--set", f"{STORE}={url}"]
        for name in _PASSWORDS:  # it is ours and asks for none
            self._environ.pop(name, None)
        self._keep(self._store)
        return await answers(folder)

    def _keep(self, program: Program, *, must_start: bool = False) -> asyncio.Task[None]:
        task = asyncio.create_task(program.keep(must_start=must_start))
        self._kept[program] = task
        return task

    def _worker(self, number: int) -> Program:
        name = f"worker {number}"
        begun = False

        def command() -> list[str]:
            alone = "alone" if number == 1 and not begun else "shared"
            return [*self._program, str(number), str(self._port), alone, READY, *self._options]

        def ready(line: str) -> None:
            nonlocal begun
            begun = True
            facts = json.loads(line)
            where = " and ".join(f"{each[0] or '*'}:{each[1]}" for each in facts["listen"])
            page = f", page and metrics at {facts['page']}" if facts["page"] else ""
            say("supervisor", f"{name} of {len(self._workers)} listens at {where}{page}")

        return Program(name=name, command=command, environ=self._environ, on_ready=ready)

    def _stop(self) -> None:
        if self._told.is_set():  # again: somebody does not want to wait
            self._send(signal.SIGKILL)
        self._told.set()

    def _send(self, number: int) -> None:
        for worker in self._workers:
            worker.send(number)

    async def _end(self) -> None:
        """End the workers, then what they need."""
        for programs in (self._workers, [self._store] if self._store else []):
            tasks = [self._kept[program] for program in programs if program in self._kept]
            for program in programs:
                program.stop()
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=STOP_S)
                for program in programs if late else []:
                    program.send(signal.SIGKILL)
                for failed in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(failed, BaseException):
                        say("supervisor", f"failed: {failed!r}")
