"""Several workers are one proxy: one port, one authority, one budget, one log, one end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from .figures import Figures
from .nginx import Nginx
from .process import connections, wait_for
from .workers import Workers, running_workers

pytestmark = pytest.mark.e2e

HOST, FREE = "photos.example.org", "free.example.org"
LIMIT_BYTES_PER_S = 200_000
OVER_S = 6.0
PAGE_PORT = 18_183
CONNECTIONS = 400
POLICY = """
version: 1
name: {name}
rules:
  - name: all together
    when: {{host: photos.example.org}}
    then: {{rate: {{limit: 200 kB/s, per: rule}}}}
"""


@pytest.fixture(scope="module")
def workers(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[Workers]:
    path = policy(POLICY.format(name="first"))
    with running_workers(
        path, resolve=nginx.resolve, options=["--set", "throttle_store="]
    ) as running:
        yield running


def pids(workers: Workers) -> list[int]:
    found = workers.children()
    return [found["worker 1"], found["worker 2"]]


def ask(sock: socket.socket, host: str, path: str) -> None:
    sock.sendall(f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def dial(workers: Workers) -> socket.socket:
    return socket.create_connection(("127.0.0.1", workers.port), 60)


def worker_of(workers: Workers, sock: socket.socket) -> int:
    """The process that has the other end of a connection."""
    own = sock.getsockname()[1]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # until it is accepted
        for pid in pids(workers):
            if any(other == own for _, other, _ in connections(pid)):
                return pid
    raise AssertionError("nobody has accepted the connection")


def one_of_each(workers: Workers) -> dict[int, socket.socket]:
    """A connection to each worker, by its process."""
    found: dict[int, socket.socket] = {}
    for _ in range(60):
        sock = dial(workers)
        ask(sock, FREE, "/4kb.jpg")
        sock.recv(1)
        if found.setdefault(worker_of(workers, sock), sock) is not sock:
            sock.close()
        if len(found) == 2:
            return found
    raise AssertionError("one worker got all connections")


def test_connections_are_spread(workers: Workers, figures: Figures) -> None:
    port = workers.port
    socks = [dial(workers) for _ in range(CONNECTIONS)]

    def held() -> list[int]:
        return [
            sum(1 for own, _, state in connections(pid) if own == port and state == "established")
            for pid in pids(workers)
        ]

    assert wait_for(lambda: sum(held()) >= CONNECTIONS, 30.0) is not None
    most = max(held()) / sum(held())
    figures.add(f"of {CONNECTIONS} connections, the busier of two workers has", 100 * most, "%")
    for sock in socks:
        sock.close()
    assert most <= 0.60


def test_one_authority(workers: Workers, figures: Figures) -> None:
    """Whatever worker a client comes to, it is shown a certificate of the same one."""
    trust = ssl.create_default_context(cafile=workers.confdir / "mitmproxy-ca-cert.pem")
    for pid, sock in one_of_each(workers).items():
        sock.close()
        while worker_of(workers, sock := dial(workers)) != pid:
            sock.close()
        sock.sendall(f"CONNECT {FREE}:443 HTTP/1.1\r\nHost: {FREE}:443\r\n\r\n".encode())
        assert b" 200 " in sock.recv(4096)
        try:
            with trust.wrap_socket(sock, server_hostname=FREE) as secure:
                assert secure.getpeercert()
        except ssl.SSLError as error:
            raise AssertionError(workers.log()) from error


async def rate(port: int, start: asyncio.Event) -> float:
    """Bytes per second of one long response, between two and `OVER_S` seconds from the start."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET http://{HOST}/100mb.jpg HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await start.wait()
    begin = time.perf_counter() + 2.0
    end, counted = begin + OVER_S, 0
    while (now := time.perf_counter()) < end:
        try:
            piece = await asyncio.wait_for(reader.read(65536), end - now)
        except TimeoutError:
            break
        if time.perf_counter() >= begin:
            counted += len(piece)
    writer.close()
    return counted / OVER_S


@pytest.mark.alone
def test_one_budget(workers: Workers, figures: Figures) -> None:
    async def together() -> list[float]:
        start = asyncio.Event()
        asyncio.get_running_loop().call_later(2.0, start.set)
        return await asyncio.gather(*(rate(workers.port, start) for _ in range(12)))

    rates = asyncio.run(together())
    error = sum(rates) / LIMIT_BYTES_PER_S - 1
    figures.add("12 responses over two workers share a rate: error of the sum", 100 * error, "%")
    figures.add("of these, slowest to fastest", min(rates) / max(rates))
    assert abs(error) < 0.05
    assert min(rates) / max(rates) > 0.7


def test_a_worker_is_killed(workers: Workers, figures: Figures) -> None:
    each = one_of_each(workers)
    victim, survivor = pids(workers)
    before = workers.starts()
    sock = each[survivor]
    sock.recv(100_000)
    ask(sock, FREE, "/20kb.jpg")
    os.kill(victim, signal.SIGKILL)
    received = b""
    while len(received) < 20_000:
        received += sock.recv(65536)
    # What waited to be accepted by the victim is lost with it; whoever comes now finds the other
    # one, and then the new one.
    gone = Path(f"/proc/{victim}")
    assert wait_for(lambda: not gone.exists(), 10.0) is not None
    for _ in range(10):
        with dial(workers) as new:
            ask(new, FREE, "/4kb.jpg")
            assert new.recv(12) == b"HTTP/1.1 200"
    back_s = wait_for(lambda: workers.starts() > before, 60.0)
    assert back_s is not None
    figures.add("a killed worker listens again after", back_s, "s")
    assert "worker 1 ended with SIGKILL; starting it again in" in workers.log()
    assert {survivor} < set(pids(workers))
    for left in one_of_each(workers).values():
        left.close()


def test_the_store_is_killed(workers: Workers) -> None:
    store = workers.children()["store"]
    os.kill(store, signal.SIGKILL)
    assert wait_for(lambda: workers.children().get("store", store) != store, 30.0) is not None
    with dial(workers) as sock:
        ask(sock, HOST, "/4kb.jpg")
        assert sock.recv(12) == b"HTTP/1.1 200"


def test_a_new_policy_takes_over_in_all(nginx: Nginx, policy: Callable[[str], Path]) -> None:
    path = policy(POLICY.format(name="first"))
    page = f"127.0.0.1:{PAGE_PORT}"
    with running_workers(path, resolve=nginx.resolve, page=page) as workers:
        path.write_text(POLICY.format(name="second"))

        def took_over() -> set[str]:
            lines = workers.log().splitlines()
            return {line[:10] for line in lines if "a new second took over, 1 rules" in line}

        both = {"[worker 1]", "[worker 2]"}
        assert wait_for(lambda: took_over() == both, 20.0) is not None, workers.log()
        # Each has its page and its metrics, on ports that follow, and both have the same version.
        pages = [f"http://127.0.0.1:{PAGE_PORT + number}" for number in (0, 1)]
        assert len({urlopen(f"{page}/healthz", timeout=10).read() for page in pages}) == 1
        for page in pages:
            assert b"mitmthrottle_" in urlopen(f"{page}/metrics", timeout=10).read()
        # And then a clean end of all, with nothing left behind.
        children = list(workers.children().values())
        assert len(children) == 3
        began = time.perf_counter()
        workers.process.terminate()
        assert workers.process.wait(20) == 0
        assert time.perf_counter() - began < 10
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)
        assert "Traceback" not in workers.log()


def test_the_supervisor_is_killed(policy: Callable[[str], Path]) -> None:
    """Nobody is left to look after the workers: they end, and the store too."""
    with running_workers(policy(POLICY.format(name="first"))) as workers:
        children = list(workers.children().values())
        workers.process.kill()
        workers.process.wait()
        assert (
            wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children), 20.0)
            is not None
        )


def test_a_port_that_others_have(policy: Callable[[str], Path]) -> None:
    """Also where they would share it: two fleets on one port would each get some connections."""
    path = policy(POLICY.format(name="first"))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with running_workers(path, port=other.getsockname()[1], wait=False) as workers:
            assert workers.process.wait(60) == 1
            assert "address already in use" in workers.log()
            assert workers.starts() == 0


def test_a_mode_for_one_process(policy: Callable[[str], Path]) -> None:
    path = policy(POLICY.format(name="first"))
    with running_workers(path, options=["--mode", "wireguard"], wait=False) as workers:
        assert workers.process.wait(60) == 1
        assert "mode `wireguard` is for one process: leave --workers out" in workers.log()
