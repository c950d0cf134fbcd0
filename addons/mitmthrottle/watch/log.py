"""`throttle_log=FILE`: a line of JSON for each response, also for those that no rule slows.

Rule: the log never holds up a flow. Lines are written by another thread, some at a time as the
log is told of them; a disk that is full or slow costs lines, which is said once and counted, and
nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from mitmthrottle.policy.language.units import parse_size
from mitmthrottle.proxy.watcher import EndedBody, Watcher
from mitmthrottle.watch.log_file import LogFile
from mitmthrottle.watch.record_line import line_of

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
MOST_WAITING_BYTES = 16 * 1024 * 1024  # a disk that hangs must not fill the memory


class Log(Watcher):
    """The addon of the option, and the watcher that feeds it."""

    def __init__(self) -> None:
        self.lost = 0  # lines that could not be written
        self._file: LogFile | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._said = False
        self._done = False

    # -- options

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "throttle_log",
            str,
            "",
            "File to add a line of JSON to for each response: what was asked, what was measured, "
            "and why it ended. Costs: 30 to 40 us a response, 400 bytes of disk, and the file "
            "holds the addresses of clients and the URLs that they have fetched.",
        )
        loader.add_option(
            "throttle_log_size",
            str,
            "64 MiB",
            "A log that is larger than this is put aside as FILE.1, and so on.",
        )
        loader.add_option(
            "throttle_log_files",
            int,
            5,
            "How many logs put aside are kept; 0: none is put aside, something else sees to it. "
            "A file that was moved away or deleted is made anew.",
        )

    def configure(self, updated: set[str]) -> None:
        if not updated & {"throttle_log", "throttle_log_size", "throttle_log_files"}:
            return
        try:
            size_bytes = parse_size(ctx.options.throttle_log_size)
        except ValueError as error:
            raise exceptions.OptionsError(f"throttle_log_size: {error}") from None
        keep = ctx.options.throttle_log_files
        if keep < 0:
            raise exceptions.OptionsError(
                f"throttle_log_files: {keep} is less than none; 0 or more"
            )
        self._use(ctx.options.throttle_log, size_bytes, keep)

    def _use(self, name: str, size_bytes: int, keep: int) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None
        self.wants_unmatched = bool(name)
        if not name:
            return
        file = LogFile(Path(name).expanduser(), size_bytes, keep)
        try:
            file.write(b"")
        except OSError as error:
            self.wants_unmatched = False
            raise exceptions.OptionsError(
                f"throttle_log: {name} cannot be written: {error.strerror}"
            ) from None
        self._file, self._said = file, False

    # -- what the throttle tells

    def ended(self, record: EndedBody) -> None:
        if self._file is None:
            return
        if self._waiting_bytes >= MOST_WAITING_BYTES:
            self._lose(1, f"{self._file.path} takes no lines")
            return
        try:
            # Here, for in a thread it would take turns with everything.
            line = line_of(record)
        except Exception as fault:
            self._lose(1, f"a line could not be made: {fault!r}")
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._done:  # the proxy stops: nobody will come round again
            self._flush()
        elif self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(
                self._write(), name="mitmthrottle log"
            )

    # -- writing

    async def _write(self) -> None:
        while self._waiting:
            file, lines = self._file, self._take()
            if file is not None:
                self._tell(await asyncio.to_thread(_write, file, lines), file, len(lines))
            # Seldom: each time, the thread and the proxy wait for each other at several places.
            await asyncio.sleep(WRITE_EVERY_S)

    def _flush(self) -> None:
        """Here and now, waiting for the disk."""
        file, lines = self._file, self._take()
        if file is not None and lines:
            self._tell(_write(file, lines), file, len(lines))

    def _take(self) -> list[bytes]:
        lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return lines

    def _tell(self, error: OSError | None, file: LogFile, lines: int) -> None:
        if error is not None:
            self._lose(lines, f"{file.path} cannot be written: {error.strerror}")
        elif file.rotation_error is not None:
            self._say(f"{file.path} cannot be put aside: {file.rotation_error.strerror}")
        elif self._said:
            self._said = False
            logger.warning("mitmthrottle: %s goes on; %d lines were lost", file.path, self.lost)

    def _lose(self, lines: int, why: str) -> None:
        self.lost += lines
        self._say(why)

    def _say(self, what: str) -> None:
        """Once, until it is well again."""
        if not self._said:
            self._said = True
            logger.error("mitmthrottle: throttle_log: %s; all flows go on", what)

    def done(self) -> None:
        self._done = True
        self._flush()


def _write(file: LogFile, lines: list[bytes]) -> OSError | None:
    """In a thread of its own."""
    try:
        file.write(b"".join(lines))
    except OSError as error:
        return error
    return None
