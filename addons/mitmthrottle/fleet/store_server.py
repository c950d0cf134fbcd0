"""A Valkey or Redis server for the workers of one machine, on a socket that is theirs alone.

Rule: it keeps nothing: no file, no port. Restarted, it is empty, which the workers can take.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from .program import Program

SERVERS = ("valkey-server", "redis-server")
START_S = 10.0
MISSING = (
    "several workers share their budgets through a Valkey or Redis server, and none is installed: "
    "`apt-get install valkey-server` (Debian 12: redis-server), or name one that runs: "
    "--set throttle_store=valkey://HOST:6379"
)


def find_server() -> str | None:
    """The program, if one is installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return next((found for name in SERVERS if (found := shutil.which(name, path=path))), None)


def store_program(server: str, folder: Path) -> tuple[Program, str]:
    """The program, to be kept running, and its address for `throttle_store`.

    `folder` must be private: whoever can write there can speak to the server.
    """
    socket = folder / "store.sock"
    command = [
        *_ending_with_us(),
        server,
        *("--port", "0"),
        *("--unixsocket", str(socket), "--unixsocketperm", "600"),
        *("--save", "", "--appendonly", "no"),
        *("--dir", str(folder), "--daemonize", "no", "--loglevel", "warning"),
    ]
    return Program(name="store", command=lambda: command), f"unix://{socket}"


def _ending_with_us() -> list[str]:
    """A server does not watch its input: the kernel tells it when we are gone, however we went."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


async def answers(folder: Path) -> bool:
    """Wait until the server answers; False if it does not in time."""
    path = str(folder / "store.sock")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_unix_connection(path)
                    writer.write(b"PING\r\n")
                    answer = await reader.readline()
                    writer.close()
                    if answer == b"+PONG\r\n":
                        return True
                await asyncio.sleep(0.02)
    return False
