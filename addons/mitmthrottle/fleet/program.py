"""One program that is to run for as long as the supervisor does.

Rule: it has a session of its own, so that a terminal's signals come from the supervisor only; and
it ends when the supervisor does, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .backoff import Backoff

LONGEST_LINE_BYTES = 64 * 1024
LAST_WORDS_S = 1.0
"""How long to wait for what an ended program has written: a child of it may hold the pipe open."""

READY = "{ready}"
"""What stands in a command for the descriptor to write a line to, once it is ready."""


def say(name: str, text: str) -> None:
    """A line of the one log."""
    # A log that nobody reads any more must not end the proxies.
    with contextlib.suppress(OSError):
        sys.stdout.write(f"[{name}] {text}\n")
        sys.stdout.flush()


@dataclass(slots=True, kw_only=True, eq=False)
class Program:
    """What to start, and what is known of it."""

    name: str
    command: Callable[[], Sequence[str]]
    """asked anew for each start"""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    on_ready: Callable[[str], None] = lambda line: None
    """told what it has written to `{ready}`"""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    """how often in a row it has ended before it was ready"""
    process: asyncio.subprocess.Process | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self, *, must_start: bool = False) -> None:
        """Start it again and again, until it is stopped; with `must_start`, not before it has once
        been ready."""
        backoff = Backoff()
        while not self.stopping.is_set():
            started = time.monotonic()
            failures = self.failures
            try:
                said = f"ended with {shown(await self._run())}"
            except OSError as error:  # too many processes, no memory
                said = f"did not start: {error}"
                self.failures += 1
            if self.stopping.is_set():
                return
            if must_start and self.failures > failures:
                say("supervisor", f"{self.name} {said}")
                return
            must_start = False
            wait_s = backoff.after(time.monotonic() - started)
            say("supervisor", f"{self.name} {said}; starting it again in {wait_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), wait_s)

    def stop(self) -> None:
        """Ask it to end, and do not start it again."""
        self.stopping.set()
        self.send(signal.SIGTERM)

    def send(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def _run(self) -> int:
        """Start it and wait for its end; its status, negative for a signal."""
        ready, told = os.pipe()
        with os.fdopen(ready, "rb") as reading:
            try:
                self.process = process = await asyncio.create_subprocess_exec(
                    *(part.replace(READY, str(told)) for part in self.command()),
                    # Its end tells the program that nobody looks after it any more.
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(told,),
                    start_new_session=True,
                    env=self.environ,
                )
            finally:
                os.close(told)
            if self.stopping.is_set():  # meanwhile
                self.send(signal.SIGTERM)
            assert process.stdout is not None  # noqa: S101  # asked for above
            log = asyncio.create_task(self._log(process.stdout))
            listening = asyncio.create_task(self._listen(reading))
            try:
                status = await process.wait()
                await asyncio.wait([log], timeout=LAST_WORDS_S)
            finally:
                log.cancel()
                listening.cancel()
                await asyncio.wait([log, listening])
        self.failures = 0 if self.ready.is_set() else self.failures + 1
        self.ready.clear()
        return status

    async def _log(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while piece := await stream.read(LONGEST_LINE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LONGEST_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                say(self.name, line.decode(errors="replace").rstrip("\r"))
        if rest:
            say(self.name, rest.decode(errors="replace"))

    async def _listen(self, reading: object) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), reading
        )
        try:
            if line := await reader.readline():
                self.on_ready(line.decode())
                self.ready.set()
        finally:
            transport.close()


def shown(status: int) -> str:
    """An exit status in words.

    >>> shown(1), shown(-9)
    ('status 1', 'SIGKILL')
    """
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal
        return f"signal {-status}"
