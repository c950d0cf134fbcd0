"""What hostile clients send costs others no time and the proxy no memory, beside bare mitmdump in
the same run; and whatever they send can be shown.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from .figures import Figures
from .process import resident_bytes
from .seeing_lab import page_of

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

POLICY = """
version: 1
name: bounds
clients:
  phones: {device: [mobile, tablet, tv]}
rules:
  - name: by path and agent
    when: {host: .photos.example, path: "*/never/*", client: phones}
    then: {rate: 1 Gbit/s}
  - name: by agent
    when: {host: .photos.example, client: phones, port: 80}
    then: {rate: 1 Gbit/s}
  - name: the rest
    when: {path: "*.nothing"}
    then: {rate: 1 Gbit/s}
"""
MANY = 500
LARGE = 1_000_000
MORE_THAN_BARE_BYTES = 20 * 1024 * 1024
LONG = 64 * 1024
LATER_S = 0.050
ROUNDS = 3
SERIAL = itertools.count(10_000)


@contextlib.contextmanager
def small_origin() -> Iterator[int]:
    """Answers every request, however large its headers are, with a few bytes; its port."""
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\n\xff\xd8\xff\xe0"
    )

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            came = b""
            while piece := connection.recv(1 << 20):
                came = came[-3:] + piece
                if b"\r\n\r\n" in came:
                    connection.sendall(answer)
                    came = b""

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


class Client:
    """A connection to the proxy, for plain requests."""

    def __init__(self, proxy: RunningProxy) -> None:
        self.sock = socket.create_connection(("127.0.0.1", proxy.port), 60)

    def ask(
        self,
        host: bytes = b"",
        path: bytes = b"/a.jpg",
        agent: bytes = b"probe",
        method: bytes = b"GET",
    ) -> float:
        """Seconds until the answer's end."""
        began = time.perf_counter()
        self.sock.sendall(
            method + b" http://www.photos.example" + path + b" HTTP/1.1\r\nHost: "
            + (host or b"www.photos.example") + b"\r\nUser-Agent: " + agent + b"\r\n\r\n"
        )  # fmt: skip
        came = b""
        while not came.endswith(b"\xff\xd8\xff\xe0"):
            piece = self.sock.recv(65536)
            assert piece, came
            came += piece
        return time.perf_counter() - began


@contextlib.contextmanager
def proxy_of(policy: Path | None, port: int) -> Iterator[tuple[RunningProxy, str | None]]:
    """With a page that somebody looks at, or bare."""
    options = ["--set", "flow_detail=0", "--set", "termlog_verbosity=info"]
    if policy is not None:
        options += ["--set", "throttle_listen=127.0.0.1:0"]
    with running_proxy(policy, resolve={"*": ("127.0.0.1", port)}, options=options) as proxy:
        yield proxy, page_of(proxy) if policy is not None else None


def state(page: str) -> bytes:
    with urllib.request.urlopen(f"{page}/api/state", timeout=10) as answer:
        return bytes(answer.read())


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "bounds.yaml"
    path.write_text(POLICY)
    return path


@pytest.mark.parametrize("kind", ["hosts", "agents"])
def test_many_large_names_are_not_kept(kind: str, policy_file: Path, figures: Figures) -> None:
    grown: dict[str, int] = {}
    with small_origin() as port:
        for name, policy in (("bare", None), ("throttled", policy_file)):
            with proxy_of(policy, port) as (proxy, page):
                client = Client(proxy)
                for _ in range(20):
                    client.ask()
                if page:
                    state(page)
                before = resident_bytes(proxy.pid)
                for number in range(MANY):
                    large = b"%06d" % number + b"a" * LARGE
                    if kind == "hosts":
                        client.ask(host=large)
                    else:
                        client.ask(agent=large)
                    if page and number % 50 == 0:
                        assert len(state(page)) < 1_000_000
                if page:
                    time.sleep(2.0)  # for what is looked at once a second
                    json.loads(state(page))
                grown[name] = resident_bytes(proxy.pid) - before
    more = grown["throttled"] - grown["bare"]
    figures.add(f"memory, {MANY} {kind} of 1 MB: growth beyond bare mitmdump's", more / 1e6, "MB")
    figures.add(f"memory, {MANY} {kind} of 1 MB: bare mitmdump's", grown["bare"] / 1e6, "MB")
    assert more < MORE_THAN_BARE_BYTES


HOSTILE = {
    "agents": {"agent": (b"tizen " * LONG)[:LONG]},
    "more agents": {"agent": (b"box box android box tv" * LONG)[:LONG]},
    "paths": {"path": (b"/photos/a" * LONG)[:LONG]},
    "hosts": {"host": (b"a.b" * LONG)[:LONG]},
    "odd hosts": {"host": (b"xn--a\xff." * LONG)[:LONG]},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nobody_waits_for_what_is_long(kind: str, policy_file: Path, figures: Figures) -> None:
    waited: dict[str, float] = {}
    with small_origin() as port:
        for name, policy in (("bare", None), ("throttled", policy_file)):
            with proxy_of(policy, port) as (proxy, page):
                if page:
                    state(page)
                hostile, other = Client(proxy), Client(proxy)
                other.ask(agent=b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile")
                waited[name] = min(_slowest_beside(hostile, other, kind) for _ in range(ROUNDS))
    later = waited["throttled"] - waited["bare"]
    figures.add(f"long {kind}: others wait longer than with bare mitmdump", 1e3 * later, "ms")
    assert later < LATER_S


def _slowest_beside(hostile: Client, other: Client, kind: str) -> float:
    over = threading.Event()
    times: list[float] = []

    def probe() -> None:
        while not over.is_set():
            times.append(other.ask())
            time.sleep(0.002)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        for _ in range(10):  # another one each time, so that nothing is remembered
            odd = b"%d" % next(SERIAL)
            hostile.ask(**{where: text + odd for where, text in HOSTILE[kind].items()})
    finally:
        over.set()
        thread.join(30)
    assert statistics.median(times) < 1.0
    return max(times)


def test_any_byte_is_shown(policy_file: Path, tmp_path: Path) -> None:
    """In the page's state, on a terminal, in the log: escaped, and never an error."""
    with small_origin() as port, proxy_of(policy_file, port) as (proxy, page):
        assert page is not None
        state(page)
        for byte in range(1, 256):
            odd = bytes([byte])
            for where in ("host", "path", "agent", "method"):
                if byte in b"\r\n \t:" or (where == "method" and byte < 33):
                    continue
                text = b"/a" + odd + b"b" if where == "path" else b"A" + odd + b"B"
                with contextlib.suppress(AssertionError, OSError):  # mitmproxy itself refuses some
                    Client(proxy).ask(**{where: text})
        came = state(page)
        text = came.decode("utf-8")
        assert text.isprintable()
        assert {"/a\\xffb", "/a\\x1bb"} <= {
            each["path"] for each in json.loads(came)["decisions"]
        } or ("\\\\xff" in text)
        assert "Traceback" not in proxy.log()
