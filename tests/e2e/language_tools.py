"""mitmweb and mitmproxy's console with a policy, driven as their users drive them: by the web
page's own requests, and by keys on a terminal.

Rule: started by script and options, ended by their process ids; nothing of them stays behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mitmthrottle.lab import proxy as lab
from mitmthrottle.lab.proxy import SCRIPT_PATH, RunningProxy

_START_S = 30.0
_STOP_S = 5.0
_PASSWORD = "let me in"
_TOKEN = "0123456789abcdef0123456789abcdef"
_LAB = Path(lab.__file__).parent
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>])")


@dataclass
class Web:
    """mitmweb, and its page's way of running a command."""

    proxy: RunningProxy
    _client: httpx.Client

    def run(self, command: str, *arguments: str) -> Any:
        """What the command returns; RuntimeError with what mitmweb says if it fails."""
        answer = self._client.post(
            f"/commands/{command}",
            json={"arguments": list(arguments)},
        )
        answer.raise_for_status()
        said = answer.json()
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["value"]

    def set(self, option: str, value: object) -> None:
        """Change an option on the page's options tab."""
        self._client.put("/options", json={option: value}).raise_for_status()


@dataclass
class Console:
    """mitmproxy on a terminal of 200 columns and 50 lines."""

    proxy: RunningProxy
    _terminal: int
    _shown: bytearray = field(default_factory=bytearray)

    def type(self, keys: str) -> None:
        for key in keys:  # one by one: it completes while one types
            os.write(self._terminal, key.encode())
            time.sleep(0.005)

    def run(self, command: str) -> None:
        """Type `:`, the command, and Return."""
        self.type(f":{command}\r")

    def clear(self) -> None:
        self._shown.clear()

    def shown(self) -> str:
        """What was drawn since, without colours and moves of the cursor."""
        return _ESCAPES.sub("", self._shown.decode(errors="replace"))


@contextlib.contextmanager
def running_web(
    policy: Path | str, *, upstream_ca: Path, resolve: Mapping[str, tuple[str, int]]
) -> Iterator[Web]:
    """mitmweb with a policy until the block ends."""
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-web-") as name:
        folder = Path(name)
        web = _free_port()
        options = (
            *("--set", f"web_port={web}", "--set", "web_open_browser=false"),
            *("--set", f"web_password={_PASSWORD}"),
        )
        command = [*_command("mitmweb", folder, policy, upstream_ca, resolve), *options]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            proxy = _wait(process, folder)
            # The page reads its token from a cookie and sends it back; who sets both is let in.
            headers = {
                "Authorization": f"Bearer {_PASSWORD}",
                "Cookie": f"_mitmproxy_xsrf={_TOKEN}",
                "X-XSRFToken": _TOKEN,
            }
            base = f"http://127.0.0.1:{web}"
            with httpx.Client(base_url=base, headers=headers, trust_env=False) as client:
                yield Web(proxy, client)
        finally:
            _end(process)


@contextlib.contextmanager
def running_console(
    policy: Path | str, *, upstream_ca: Path, resolve: Mapping[str, tuple[str, int]]
) -> Iterator[Console]:
    """mitmproxy with a policy on a terminal of its own until the block ends."""
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-console-") as name:
        folder = Path(name)
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        process = subprocess.Popen(
            _command("mitmproxy", folder, policy, upstream_ca, resolve),
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(its)
        shown = bytearray()
        reader = threading.Thread(target=_read, args=(ours, shown))
        reader.start()
        try:
            yield Console(_wait(process, folder, shown), ours, shown)
        finally:
            _end(process)
            reader.join()
            os.close(ours)


def _read(terminal: int, shown: bytearray) -> None:
    with contextlib.suppress(OSError):  # EIO: the program has left its terminal
        while data := os.read(terminal, 1 << 16):
            shown += data


def _command(
    tool: str,
    folder: Path,
    policy: Path | str,
    upstream_ca: Path,
    resolve: Mapping[str, tuple[str, int]],
) -> list[str]:
    start = f"from mitmproxy.tools.main import {tool}; {tool}()"
    routes = [
        part
        for name, (address, port) in resolve.items()
        for part in ("--set", f"lab_resolve={name}={address}:{port}")
    ]
    return [
        *(sys.executable, "-c", start, "--listen-host", "127.0.0.1", "--listen-port", "0"),
        *("--set", f"confdir={folder / 'conf'}"),
        *("-s", str(_LAB / "ready.py"), "--set", f"lab_ready={folder / 'port'}"),
        *("-s", str(_LAB / "resolve.py"), *routes),
        *("--set", f"ssl_verify_upstream_trusted_ca={upstream_ca}"),
        *("-s", str(SCRIPT_PATH), "--set", f"throttle_policy={policy}"),
    ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait(
    process: subprocess.Popen[bytes], folder: Path, shown: bytearray | None = None
) -> RunningProxy:
    deadline = time.monotonic() + _START_S
    log, ready = folder / "log", folder / "port"
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace") if log.exists() else bytes(shown or b"").decode()
            raise RuntimeError(f"it did not start:\n{said[-2000:]}")
        time.sleep(0.02)
    return RunningProxy(int(ready.read_text()), process.pid, log, folder / "conf")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
