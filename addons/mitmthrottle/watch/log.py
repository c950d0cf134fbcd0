"""`throttle_log=FILE`: a line of JSON for each response, also for those that no rule slows.

Rules: the log never holds up a flow. Lines are written by another thread, some at a time as the
log is told of them; a disk that is full or slow costs lines, which is said once and counted, and
nothing else.  A batch of lines is one write, whole or not at all, so that whoever reads along sees
whole lines.  Field names are stable once shipped, quantities are in SI units, and every line has
every field: docs/record.md tells what each is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from mitmthrottle.policy import Rule
from mitmthrottle.policy.language.outside import cut
from mitmthrottle.policy.language.units import parse_size
from mitmthrottle.proxy.observer import EndedBody, Observer

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
MOST_WAITING_BYTES = 16 * 1024 * 1024  # a disk that hangs must not fill the memory


class Log(Observer):
    """The addon of the option, and the observer that feeds it."""

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


# A named pipe that nobody reads is an error and no reason to wait.
_ADDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
PRIVATE = 0o600  # what was fetched is nobody else's business


class LogFile:
    """Opened when first written to, and again whenever the path leads to another file.

    Beyond `max_bytes` it becomes `FILE.1`, which becomes `FILE.2`, and so on up to `keep` older
    files; `keep` 0 leaves rotating to others.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self.rotation_error: OSError | None = None
        """why the file grows on beyond its size, if it does"""
        self._file: int | None = None
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Add whole lines, from any thread. Raises OSError."""
        with self._lock:
            self._write(data)

    def _write(self, data: bytes) -> None:
        file = self._open()
        size = os.fstat(file).st_size
        if self._keep and size and size + len(data) > self._max_bytes:
            self._rotate()
            file = self._open()
            size = os.fstat(file).st_size
        written = 0
        try:
            while written < len(data):
                written += os.write(file, data[written:])
        except OSError:
            if written:  # half a line would spoil the next one
                with contextlib.suppress(OSError):  # a pipe, say
                    os.ftruncate(file, size)
            raise

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # of a disk that is gone
                os.close(file)

    def _open(self) -> int:
        """The file that the path leads to now, also when the one before was moved away."""
        if self._file is not None and not self._is_at_path(self._file):
            self._close()
        if self._file is None:
            self._file = os.open(self.path, _ADDING, PRIVATE)
        return self._file

    def _is_at_path(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        self._close()
        try:
            for number in range(self._keep - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._numbered(number).replace(self._numbered(number + 1))
            self.path.replace(self._numbered(1))
        except OSError as error:  # a file that is too long is better than none
            self.rotation_error = error
        else:
            self.rotation_error = None

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


NULL = "null"
LONGEST_PATH = 2048


def line_of(record: EndedBody) -> bytes:
    """With its newline; ASCII only, so that no reader stumbles over what was in a URL.

    Put together by hand, since there is one for each response: a dictionary and its encoder take
    four times as long.
    """
    exchange, measured, path = record.exchange, record.measured_bytes_per_s, record.exchange.path
    opaque, kind, status = exchange.opaque, record.content, exchange.status
    asked_for = _asked_for(
        exchange.client_address,
        exchange.user,
        None if opaque else exchange.method,
        exchange.scheme,
        exchange.host,
        exchange.port,
    )
    return (
        f'{{"time":{record.time:.6f}'
        f',"kind":"{record.kind}"'
        f',"direction":"{record.direction}"'
        f',"flow":{quoted(record.flow_id)}'
        f"{asked_for}"
        f',"path":{NULL if opaque else quoted(cut(path, LONGEST_PATH))}'
        f',"content":{NULL if kind is None else quoted(kind)}'
        f',"status":{NULL if status is None else status}'
        f"{_WITHOUT_RULE if record.rule is None else _ruled(record.rule, record.asked_bytes_per_s)}"
        f',"measured_bytes_per_s":{NULL if measured is None else f"{measured:.3f}"}'
        f',"bytes":{record.sent_bytes}'
        f',"waited_s":{record.waited_s:.6f}'
        f',"duration_s":{record.duration_s:.6f}'
        f',"outcome":{quoted(record.outcome)}'
        f',"version":{quoted(record.version)}}}\n'
    ).encode("ascii")


@lru_cache(maxsize=1024)  # a client asks the same host again and again
def _asked_for(
    client: str | None, user: str | None, method: str | None, scheme: str, host: str, port: int
) -> str:
    return (
        f',"client":{NULL if client is None else quoted(client)}'
        f',"user":{NULL if user is None else quoted(user)}'
        f',"method":{NULL if method is None else quoted(method)}'
        f',"scheme":{quoted(scheme)}'
        f',"host":{quoted(host)}'
        f',"port":{port}'
    )


_WITHOUT_RULE = ',"rule":null,"line":null,"asked_bytes_per_s":null'


def _ruled(rule: Rule, asked_bytes_per_s: float | None) -> str:
    asked = NULL if asked_bytes_per_s is None else asked_bytes_per_s
    return f',"rule":{quoted(rule.name)},"line":{rule.line},"asked_bytes_per_s":{asked}'
