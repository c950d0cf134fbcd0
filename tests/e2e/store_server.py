"""A real Valkey, or Redis where the system has no Valkey, in a folder of its own.

Rule: it keeps nothing, so that a restarted one is empty; it is ended by its process id.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mitmthrottle.lab.netns import inside

_START_S = 10.0


def command() -> list[str]:
    """MITMTHROTTLE_VALKEY, or the first that is installed."""
    if named := os.environ.get("MITMTHROTTLE_VALKEY"):
        return shlex.split(named)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return [found]
    raise FileNotFoundError("no store is installed; on Debian: apt-get install valkey-server")


class StoreServer:
    """One server; `namespace` None: on the loopback of the machine."""

    def __init__(self, folder: Path, namespace: str | None = None, address: str = "127.0.0.1"):
        self.folder = folder
        self.address = address
        self._namespace = namespace
        with self._there(), socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"valkey://{self.address}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *more: str) -> None:
        bind = "127.0.0.1" if self.address == "127.0.0.1" else f"127.0.0.1 {self.address}"
        with self._there(), (self.folder / "store.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*command(), "--port", str(self.port), "--bind", *bind.split()),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
                    *("--protected-mode", "no", *more),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.ask("PING").startswith(("+PONG", "-NOAUTH")):
                    return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "store.log").read_text())

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """A command's answer as the server sends it, without the length of a bulk string."""
        with self._there(), socket.create_connection((self.address, self.port), 2) as sock:
            parts = [f"*{len(words)}\r\n", *(f"${len(w)}\r\n{w}\r\n" for w in words)]
            sock.sendall("".join(parts).encode() + b"*1\r\n$4\r\nQUIT\r\n")
            data = b""
            while chunk := sock.recv(65536):
                data += chunk
        return data.decode().removesuffix("+OK\r\n").strip()

    def version(self) -> str:
        lines = self.ask("INFO", "server").splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        name = found.get("server_name", "redis")
        return f"{name} {found.get('valkey_version', found.get('redis_version'))}"

    def calls(self) -> dict[str, int]:
        """How often each command was carried out, those inside scripts included."""
        lines = self.ask("INFO", "commandstats").splitlines()
        return {
            line[8:].split(":")[0]: int(line.split("calls=")[1].split(",")[0])
            for line in lines
            if line.startswith("cmdstat_")
        }

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def _there(self) -> Iterator[None]:
        if self._namespace is None:
            yield
        else:
            with inside(self._namespace):
                yield


@contextlib.contextmanager
def running_store(
    namespace: str | None = None, address: str = "127.0.0.1"
) -> Iterator[StoreServer]:
    """Until the block ends."""
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-store-") as folder:
        server = StoreServer(Path(folder), namespace, address)
        server.start()
        try:
            yield server
        finally:
            server.kill()
