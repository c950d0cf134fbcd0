"""A file that lines are added to, which others may rotate, move away or fill the disk under.

Rule: a batch of lines is one write, whole or not at all, so that whoever reads along sees whole
lines; what could not be written raises OSError and leaves the file as it was.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

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
