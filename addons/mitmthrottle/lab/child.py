"""What `running_proxy` starts: mitmdump, which ends with whoever has started it.

Rule: however its parent ends (SIGKILL, `os._exit`), neither the process nor its folder stays
behind.

Called by its path as `child.py FOLDER`, and mitmdump's own arguments. Its standard input says
nothing: what there is to read is its end, which the kernel brings about when the parent is gone.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

STDIN = 0
LOOK_EVERY_S = 1.0  # at the parent itself: a process it has forked may hold our input open
STOP_S = 5.0


def main() -> NoReturn:
    folder = sys.argv.pop(1)
    orphaned = threading.Event()
    # Until mitmproxy has its own way to end in order, a signal should run what follows as well.
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_watch, args=(os.getppid(), folder, orphaned), daemon=True).start()

    def remove_folder() -> None:
        if orphaned.is_set():
            shutil.rmtree(folder, ignore_errors=True)

    try:
        from mitmthrottle.proxy.process import run_mitmdump
    except SystemExit:  # told to end meanwhile
        remove_folder()
        raise
    run_mitmdump(sys.argv[1:], remove_folder)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _watch(parent: int, folder: str, orphaned: threading.Event) -> NoReturn:
    while os.getppid() == parent:
        readable, _, _ = select.select([STDIN], [], [], LOOK_EVERY_S)
        if readable and not os.read(STDIN, 4096):
            break
    orphaned.set()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)  # it is stuck


if __name__ == "__main__":
    main()
