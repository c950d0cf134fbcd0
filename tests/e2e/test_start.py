"""The moment at which the proxy begins: the first who gets in is slowed, and whoever waits for
its log line gets it."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import SCRIPT_PATH

from .figures import Figures
from .nginx import Nginx
from .process import alive

pytestmark = pytest.mark.e2e

HOST = "photos.example.org"
POLICY = f"""
version: 1
name: slow
rules:
  - name: all of it
    when: {{host: {HOST}}}
    then: {{rate: 10 Mbit/s}}
"""
MITMDUMP = "from mitmproxy.tools.main import mitmdump; mitmdump()"
RUN = "from mitmthrottle.cli import main; main()"
RESOLVE = SCRIPT_PATH.parent / "lab" / "resolve.py"
STARTS = 10  # of each kind; a third of the starts let the first response through, once
WAYS: dict[str, Callable[[Path], list[str]]] = {
    "mitmdump": lambda path: [MITMDUMP, "-s", str(SCRIPT_PATH), "--set", f"throttle_policy={path}"],
    "run": lambda path: [RUN, "run", str(path)],
    "workers": lambda path: [RUN, "run", str(path), "--workers", "2", "--set",
                             "throttle_store=unix:///nowhere"],
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_answer(port: int) -> bytes:
    """What the first connection gets that is accepted at all."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as s:
            s.settimeout(20)
            s.sendall(
                f"GET http://{HOST}/20kb.jpg HTTP/1.1\r\nHost: {HOST}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            answer = b""
            while piece := s.recv(65536):
                answer += piece
            return answer
    raise TimeoutError("nobody listens")


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("way", WAYS)
def test_the_first_response_is_slowed(
    way: str, nginx: Nginx, policy: Callable[[str], Path], tmp_path: Path, figures: Figures
) -> None:
    path = policy(POLICY)
    slowed = 0
    for _ in range(STARTS):
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", *WAYS[way](path),
             "--listen-host", "127.0.0.1", "--listen-port", str(port), "-s", str(RESOLVE),
             "--set", f"lab_resolve=*:80=127.0.0.1:{nginx.plain_port}",
             "--set", f"confdir={tmp_path}", "--set", "throttle_listen=",
             "--set", "throttle_server_timing=true"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            answer = first_answer(port)
        finally:
            end(process)
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
        slowed += b"\r\nserver-timing: throttle" in answer.lower()
    figures.add(f"first responses slowed ({way}), of {STARTS} starts", float(slowed))
    assert slowed == STARTS


@pytest.mark.parametrize("way", WAYS)
def test_a_pipe_gets_each_line_at_once(
    way: str, policy: Callable[[str], Path], tmp_path: Path
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", *WAYS[way](policy(POLICY)),
         "--listen-host", "127.0.0.1", "--listen-port", "0",
         "--set", f"confdir={tmp_path}", "--set", "throttle_listen="],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = _until(process.stdout.fileno(), b"listen", within_s=20)
        assert alive(process.pid)
        assert b"listen" in said
    finally:
        end(process)
        process.stdout.close()


def _until(descriptor: int, word: bytes, within_s: float) -> bytes:
    said = b""
    deadline = time.monotonic() + within_s
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while word not in said and (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                piece = os.read(descriptor, 65536)
                if not piece:
                    break
                said += piece
    return said


def test_after_traffic_over_udp_it_ends_in_order(
    policy: Callable[[str], Path], tmp_path: Path, figures: Figures
) -> None:
    """Of bare mitmdump's, a third to a half of the ends are segmentation faults."""
    path, statuses = policy(POLICY), list[int]()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as origin:
        origin.bind(("127.0.0.1", 0))
        threading.Thread(target=_echo, args=(origin,), daemon=True).start()
        for _ in range(STARTS):
            port = free_port()
            mode = f"reverse:udp://127.0.0.1:{origin.getsockname()[1]}@{port}"
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", RUN, "run", str(path), "--listen-host", "127.0.0.1",
                 "--mode", mode, "--set", f"confdir={tmp_path}", "--set", "throttle_listen="],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                for _ in range(20):
                    _exchange(port)
            finally:
                end(process)
            statuses.append(process.returncode)
        origin.sendto(b"", origin.getsockname())  # the end of the thread
    figures.add(f"ends with status 0 after UDP, of {STARTS}", float(statuses.count(0)))
    assert statuses == [0] * STARTS


def _echo(origin: socket.socket) -> None:
    while True:
        data, sender = origin.recvfrom(2048)
        if not data:
            return
        origin.sendto(data, sender)


def _exchange(port: int) -> None:
    """One datagram there and back, each from a port of its own, once somebody is there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.1)
        client.connect(("127.0.0.1", port))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(TimeoutError, ConnectionRefusedError):
                client.send(b"here")
                assert client.recv(2048) == b"here"
                return
            time.sleep(0.02)
    raise TimeoutError("no answer over UDP")
