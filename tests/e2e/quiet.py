"""A network of one's own, in which no address comes or goes.

Rule: Chromium drops its connections when an address of the machine comes or goes, and other
tests make and remove namespaces and interfaces all the time. Whoever is root gets a namespace
with nothing but loopback; for anyone else the machine's own has to do.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

from mitmthrottle.lab.netns import inside


@contextlib.contextmanager
def quiet_network() -> Iterator[None]:
    """The block, and what it starts, is in it."""
    if os.geteuid() != 0:
        yield
        return
    name = f"quiet-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        with inside(name):
            yield
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
