"""Which ports of this machine a proxy of ours listens on: its page's, and its own.

Rule: a listener is listed before it accepts anything, and for as long as its process lives, however
that ends.  All proxies of one user in one network see one list, the workers of a fleet among them.

Each listener is a file in a folder that nobody else can write to, locked by its process: the
kernel lets go of the lock when that is gone, so a file without one is left over.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import stat
import tempfile
from pathlib import Path
from typing import Literal

try:
    import fcntl
except ModuleNotFoundError:  # not on Windows: there, a process knows its own listeners only
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

type Kind = Literal["page", "proxy"]

_SHARED_MEMORY = Path("/dev/shm")  # gone with the machine, and a folder of our own


class Listening:
    """One entry of the list, until it is closed."""

    def __init__(self, kind: Kind, port: int, path: Path | None, file: int | None) -> None:
        self.kind = kind
        self.port = port
        self.closed = False
        self._path = path
        self._file = file

    def close(self) -> None:
        """The port does not accept connections any more."""
        if self.closed:
            return
        self.closed = True
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        if self._file is not None:
            os.close(self._file)


class Listeners:
    """The list; `folder` is where it is kept, by default one that is the user's."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._own: list[Listening] = []
        self._serial = itertools.count()
        self._network = _network()

    def open(self, kind: Kind, port: int) -> Listening:
        """To be called before the port accepts connections."""
        path, file = None, None
        try:
            path, file = self._add(kind, port)
        except OSError as error:
            logger.warning(
                "mitmthrottle: other proxies on this machine cannot be told of port %d (%s), so "
                "that their clients could reach it and would look local: set throttle_listen to "
                "nothing where that matters",
                port,
                error,
            )
        listening = Listening(kind, port, path, file)
        self._own = [listening, *(each for each in self._own if not each.closed)]
        return listening

    def kinds(self, port: int) -> set[Kind]:
        """What listens on this port of this machine: empty for what is not ours."""
        found: set[Kind] = {
            each.kind for each in self._own if each.port == port and not each.closed
        }
        with contextlib.suppress(OSError):
            folder = self._place()
            for path in folder.iterdir() if folder is not None else ():
                kind, _, rest = path.name.partition("-")
                ours = kind in ("page", "proxy") and rest.startswith(f"{port}-{self._network}-")
                if ours and _is_alive(path):
                    found.add("page" if kind == "page" else "proxy")
        return found

    def _add(self, kind: Kind, port: int) -> tuple[Path | None, int | None]:
        folder = self._place()
        if folder is None or fcntl is None:
            return None, None
        for left_over in folder.glob("p*-*"):
            _is_alive(left_over)
        name = f"{kind}-{port}-{self._network}-{os.getpid()}-{next(self._serial)}"
        begun = folder / f"new-{name}"
        file = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            begun.rename(folder / name)  # locked before anybody can find it
        except OSError:
            os.close(file)
            raise
        return folder / name, file

    def _place(self) -> Path | None:
        if self._folder is None and fcntl is not None:
            base = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
            self._folder = _private(base / f"mitmthrottle-{os.geteuid()}")
        return self._folder


def _network() -> str:
    """What tells apart network namespaces: the same port is another one in each."""
    try:
        return str(Path("/proc/self/ns/net").stat().st_ino)
    except OSError:
        return "0"


def _private(folder: Path) -> Path:
    """The folder, made if need be. Raises OSError where it is, or could be, somebody else's."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def _is_alive(path: Path) -> bool:
    """Whether the process that has made this file is still there; what is left over is removed."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        with contextlib.suppress(OSError):
            path.unlink()
        return False
    finally:
        os.close(file)


listeners = Listeners()
"""The list that this process takes part in."""
