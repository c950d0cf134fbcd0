"""mitmdump in a process that is for nothing else.

Rule: its status is mitmdump's own, however the process ends.

In modes that carry UDP, mitmproxy's threads may still call into Python while the interpreter is
taken down, which then ends with a segmentation fault (mitmproxy's issue 7409). Everything is
written by then, so the interpreter is not taken down at all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


def run_mitmdump(
    arguments: Sequence[str], before_the_end: Callable[[], None] = lambda: None
) -> NoReturn:
    """Run it with these arguments, and end the process."""
    from mitmproxy.tools.main import mitmdump

    try:
        mitmdump(arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        status = 1
        sys.excepthook(*sys.exc_info())
    before_the_end()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(status)
