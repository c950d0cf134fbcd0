"""What a service manager is told, in the protocol of systemd's sd_notify(3): that connections are
accepted, and again and again that the proxy is alive.

Rule: it is told from the event loop that serves the clients, so a proxy that hangs says nothing.
Whoever is not started by a service manager tells nobody; what cannot be told is logged and keeps
nothing from working.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

SOCKET, INTERVAL, PROCESS = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
VARIABLES = (SOCKET, INTERVAL, PROCESS)
"""What a service manager sets for one process, and not for what that process starts."""

READY, ALIVE = "READY=1", "WATCHDOG=1"
OFTEN = 3
"""How many times within the time after which a silent process is taken for a hanging one."""


def tell(text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send this to the service manager, if there is one."""
    address = environ.get(SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # Linux's abstract names
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as there:
            there.setblocking(False)
            there.sendto(text.encode(), address)
    except OSError as fault:
        logger.warning("mitmthrottle: the service manager could not be told %s: %s", text, fault)


def interval_s(environ: Mapping[str, str], process: int) -> float | None:
    """How often this process has to say that it is alive; None: nobody asks.

    >>> interval_s({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "7"}, 7)
    5.0
    """
    if environ.get(PROCESS, str(process)) != str(process):
        return None
    text = environ.get(INTERVAL, "")
    if not (text.isascii() and text.isdecimal() and int(text)):
        return None
    return int(text) / 1e6 / OFTEN


async def say_alive(
    serves: Callable[[], bool] = lambda: True, environ: Mapping[str, str] = os.environ
) -> None:
    """Say so for as long as this is asked for and `serves` says yes; forever."""
    every_s = interval_s(environ, os.getpid())
    while every_s is not None:
        if serves():
            tell(ALIVE, environ)
        await asyncio.sleep(every_s)


class ServiceManager:
    """An addon, to be the last: when it is told that mitmproxy runs, all others are ready."""

    def __init__(self) -> None:
        self._saying: asyncio.Task[None] | None = None

    def running(self) -> None:
        tell(READY)
        self._saying = asyncio.get_running_loop().create_task(say_alive())

    def done(self) -> None:
        if self._saying is not None:
            self._saying.cancel()
            self._saying = None
