"""The policy file, watched.

Rule: a version that does not load never replaces one that works; it is reported once.

Looking at the file's identity a few times a second finds what inotify misses: editors that
replace the file, a symlink that is turned, a bind mount, a network share.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

from mitmthrottle.policy import Policy, PolicyError, load_policy

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
            identity = self._identity()
            if identity == self._seen:
                continue
            self._seen = identity
            content = digest(self.path)
            if content is None or content == self._content:
                continue  # on its way to be replaced, or touched only
            self._content = content
            try:
                # In a thread: a policy of ten thousand rules takes seconds to read.
                policy = await asyncio.to_thread(load_policy, self.path)
            except PolicyError as error:
                await asyncio.sleep(SETTLE_S)
                if digest(self.path) == content:  # not just half written
                    self._on_bad(error)
            else:
                self._on_good(policy)

    def _identity(self) -> object:
        """What changes when the file does; None while it is not there."""
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)


def digest(path: Path) -> bytes | None:
    """What tells one version of a file from another; None while it is not there."""
    with contextlib.suppress(OSError):
        return hashlib.sha256(path.read_bytes()).digest()
    return None
