"""What `running_browser` starts: a browser, which ends with whoever has started it.

Rule: however our parent ends, neither the browser nor its profile stays behind.

Called by its path as `browser_child.py FOLDER`, and the browser's command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

from mitmthrottle.lab.parent import when_parent_ends

STOP_S = 5.0
SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    _, folder, *command = sys.argv
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def tied() -> None:
        """Should we be killed, the kernel ends the browser."""
        if libc is not None:
            libc.prctl(SET_PDEATHSIG, signal.SIGTERM)

    # Before there is a thread, since something runs between fork and exec.
    browser = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=tied
    )

    def end(number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        browser.terminate()

    orphaned = threading.Event()

    def end_surely() -> None:
        orphaned.set()
        end()
        time.sleep(STOP_S)
        _kill_group(browser.pid)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    when_parent_ends(end_surely)
    status = browser.wait()
    _kill_group(browser.pid)
    if orphaned.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status if status >= 0 else 128 - status)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    main()
