"""For a program that is to end when whoever started it is gone, however that ended.

Rule: the kernel says so, by the end of our standard input; the parent need not be able to.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

STDIN = 0
LOOK_EVERY_S = 1.0  # at the parent itself: a process it has forked may hold our input open


def when_parent_ends(call: Callable[[], None]) -> None:
    """Call this, in a thread of its own, once our parent is gone or has closed our input."""
    threading.Thread(target=_watch, args=(os.getppid(), call), daemon=True).start()


def _watch(parent: int, call: Callable[[], None]) -> None:
    while os.getppid() == parent:
        readable, _, _ = select.select([STDIN], [], [], LOOK_EVERY_S)
        if readable and not os.read(STDIN, 4096):
            break
    call()
