"""Reads a file that somebody named, whatever it is.

The one rule: it never blocks and never reads more than was asked for. A pipe, a device or a
socket where a file is expected is told as such: reading one may wait for ever, or never end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a disk"),
)


class NotRegular(OSError):
    """What is there instead of a regular file, as `a pipe`."""


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The first `most_bytes` of a regular file.

    NotRegular where it is none, IsADirectoryError for a directory, and as `open` raises.
    """
    # a look first: a socket cannot be opened, and opening a device may do something
    _refuse(os.stat(path).st_mode)  # noqa: PTH116 - the same call on the open file follows
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        _refuse(os.fstat(descriptor).st_mode)  # it may have been replaced since
        return file.read(most_bytes)


def _refuse(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    raise NotRegular(next((name for test, name in _KINDS if test(mode)), "something else"))
