"""The policy file, watched.

Rule: a version that does not load never replaces one that works; it is reported once.  Whatever
the file becomes (a FIFO, a device, a gigabyte), the event loop does not wait for it, and watching
goes on.

Looking at the file's identity a few times a second finds what inotify misses: editors that
replace the file, a symlink that is turned, a bind mount, a network share.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

from mitmthrottle.policy import Policy, PolicyError, Problem, load_policy
from mitmthrottle.policy.load import LARGEST_FILE_BYTES

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
SETTLE_S = 0.1  # a version that does not load may be one that is being written


class LiveFile:
    """Calls `on_good` with each new version that loads, `on_bad` once for each that does not.

    `content` is the `digest` of the version in force, taken before it was loaded.
    """

    def __init__(
        self,
        path: Path,
        content: bytes | None,
        on_good: Callable[[Policy], None],
        on_bad: Callable[[PolicyError], None],
    ) -> None:
        self.path = path
        self._on_good = on_good
        self._on_bad = on_bad
        self._seen: object = None  # so that what has changed since `content` is found at once
        self._content = content
        self._unreadable = ""  # what was said last of a file that cannot be read
        self._faults: set[str] = set()
        self._task = asyncio.get_running_loop().create_task(
            self._watch(), name="mitmthrottle policy file"
        )

    @property
    def content(self) -> bytes | None:
        """The digest of the version that was handed on last, good or bad."""
        return self._content

    def stop(self) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except Exception as error:  # of ours, or of who was told: see the rule above
                if (kind := repr(error)) not in self._faults:
                    self._faults.add(kind)
                    logger.exception("mitmthrottle: %s was not taken; said once", self.path)

    async def _look(self) -> None:
        # In threads, all of it: a network share may keep us waiting, and a policy of ten thousand
        # rules takes seconds to read.
        identity = await asyncio.to_thread(_identity, self.path)
        if identity is None or identity == self._seen:
            return
        self._seen = identity
        try:
            content = await asyncio.to_thread(_digest, self.path)
        except FileNotFoundError:
            return  # on its way to be replaced
        except OSError as error:
            self._cannot_be_read(error.strerror or str(error))
            return
        self._unreadable = ""
        if content == self._content:
            return  # touched only
        self._content = content
        try:
            policy = await asyncio.to_thread(load_policy, self.path)
        except PolicyError as error:
            await asyncio.sleep(SETTLE_S)
            if await asyncio.to_thread(digest, self.path) == content:  # not just half written
                self._on_bad(error)
        else:
            self._on_good(policy)

    def _cannot_be_read(self, reason: str) -> None:
        if reason != self._unreadable:
            self._unreadable = reason
            self._content = None  # whatever comes next is news, be it what was there before
            self._on_bad(PolicyError([Problem(str(self.path), 0, 0, f"cannot be read: {reason}")]))


def digest(path: Path) -> bytes | None:
    """What tells one version of a file from another; None while it cannot be read."""
    try:
        return _digest(path)
    except OSError:
        return None


def _digest(path: Path) -> bytes:
    """Of a regular file that is no larger than a policy may be; OSError for anything else, which
    is neither waited for nor read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "this is no regular file: put one with the policy in its place")
        with open(descriptor, "rb", closefd=False) as file:
            raw = file.read(LARGEST_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(raw) > LARGEST_FILE_BYTES:
        raise OSError(None, "larger than 8 MiB, which no policy is")
    return hashlib.sha256(raw).digest()


def _identity(path: Path) -> object:
    """What changes when the file does; None while it is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.errno
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
