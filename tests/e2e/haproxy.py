"""HAProxy before the proxy, as a balancer that says whom it speaks for.

Rule: its whole life is in a temporary folder, and it is ended by its process id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_START_S = 20.0
_CONFIG = """
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen proxy
    bind 127.0.0.1:{port}
    {servers}
"""


@contextlib.contextmanager
def running_haproxy(servers: Sequence[int], send: str = "send-proxy-v2") -> Iterator[int]:
    """Balance TCP over these ports of loopback until the block ends; its own port.

    `send` is what HAProxy's `server` lines say of the header, with further options of theirs.
    """
    binary = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise FileNotFoundError("HAProxy is not installed; on Debian: apt-get install haproxy")
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-haproxy-") as name:
        with socket.create_server(("127.0.0.1", 0)) as chosen:
            port: int = chosen.getsockname()[1]
        lines = "\n    ".join(
            f"server p{number} 127.0.0.1:{server} {send}" for number, server in enumerate(servers)
        )
        config = Path(name, "haproxy.cfg")
        config.write_text(_CONFIG.format(port=port, servers=lines))
        log = Path(name, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [binary, "-db", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_for(process, port, log)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"HAProxy did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)
