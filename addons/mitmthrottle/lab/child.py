"""What `running_proxy` starts: mitmdump, which ends with whoever has started it.

Rule: however its parent ends (SIGKILL, `os._exit`), neither the process nor its folder stays
behind.

Called by its path as `child.py FOLDER`, and mitmdump's own arguments.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from mitmthrottle.lab.parent import when_parent_ends

STOP_S = 5.0


def main() -> NoReturn:
    _, folder, *arguments = sys.argv
    orphaned = threading.Event()

    def remove_folder() -> None:
        if orphaned.is_set():
            shutil.rmtree(folder, ignore_errors=True)

    def end() -> None:
        orphaned.set()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_S)
        remove_folder()
        os._exit(1)  # it is stuck

    # Until mitmproxy has its own way to end in order, a signal should run what follows as well.
    signal.signal(signal.SIGTERM, _exit)
    try:
        when_parent_ends(end)
        from mitmthrottle.proxy.mitm.process import run_mitmdump

        run_mitmdump(arguments, remove_folder)
    finally:  # told to end before mitmproxy could end in order
        remove_folder()


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
