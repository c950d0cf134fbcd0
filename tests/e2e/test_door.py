"""Nothing that a proxy relays reaches a page, a proxy or a store of ours, however it is written."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mitmthrottle.lab import netns
from mitmthrottle.lab.origin import Origin, running_origin
from mitmthrottle.lab.proxy import RunningProxy

from .door_attacks import LOOPBACK, Attack, answer_to, attacks, got_something, over_http2
from .figures import Figures
from .seeing_lab import seen_proxy
from .store_server import running_store
from .workers import running_workers

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
name: door
rules:
  - name: photos
    when: {host: .photos.example, content: photo}
    then: {rate: 128 kbit/s}
"""
PAGE_PORT = 18_289
CLIENT = "127.0.9.9"
TAG = "mtdoor"


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "door.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with running_origin(["www.photos.example"]) as running:
        yield running


@pytest.fixture(scope="module", params=["127.0.0.1", "0.0.0.0", "[::]"])
def seen(
    request: pytest.FixtureRequest, policy_file: Path, origin: Origin
) -> Iterator[tuple[RunningProxy, int]]:
    """A proxy, and its page's port, which is listened on by one address or by all."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    resolve = {"resolves.example": ("127.0.0.1", port)}
    options = ["--listen-host", "0.0.0.0"]
    with seen_proxy(policy_file, origin, f"{request.param}:{port}", options, resolve) as running:
        yield running[0], port


def own_address() -> tuple[str, ...]:
    """One of an interface that is not loopback, if there is any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.18.0.1", 9))  # nothing is sent
        except OSError:
            return ()
        return (probe.getsockname()[0],)


def is_off(port: int) -> bool:
    url = f"http://127.0.0.1:{port}/api/state"
    return bool(httpx.get(url, trust_env=False).json()["rules"][0]["switched_off"])


def tried(
    attack: Attack, address: tuple[str, int], source: str = CLIENT, times: int = 1
) -> list[bytes]:
    """What was got of the page, if anything."""
    answers = [answer_to(attack, address, source) for _ in range(times)]
    return [answer for answer in answers if got_something(answer, source)]


def test_nothing_relayed_reaches_a_page(seen: tuple[RunningProxy, int], figures: Figures) -> None:
    proxy, page = seen
    address = ("127.0.0.1", proxy.port)
    direct = answer_to(
        Attack("direct", (f"GET /api/state HTTP/1.1\r\nHost: 127.0.0.1:{page}\r\n\r\n".encode(),)),
        ("127.0.0.1", page),
    )
    assert got_something(direct)  # so that silence means something
    all_of_them = list(attacks(page, proxy.port, own_address()))
    figures.add("ways to a page through the proxy that were tried", len(all_of_them))
    assert {each.name: found for each in all_of_them if (found := tried(each, address))} == {}
    assert "Traceback" not in proxy.log()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nor_by_http2(seen: tuple[RunningProxy, int], scheme: str) -> None:
    proxy, page = seen
    for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "127.0.0.2", "resolves.example"):
        assert not got_something(over_http2(("127.0.0.1", proxy.port), f"{host}:{page}", scheme))
    assert got_something(over_http2(("127.0.0.1", proxy.port), "Throttle.Proxy.", scheme))


def test_a_token_does_not_help(seen: tuple[RunningProxy, int]) -> None:
    proxy, page = seen
    state = httpx.get(f"http://127.0.0.1:{page}/api/state", trust_env=False).json()
    for attack in attacks(page, proxy.port):
        if attack.name.startswith("the proxy"):
            continue  # there, a client of this machine is itself, and may
        switch = tuple(
            each.replace(b"GET ", b"POST ")
            .replace(b"/api/state", b"/api/rules/photos?action=disable")
            .replace(
                b"\r\nHost", f"\r\nX-Throttle-Token: {state['reader']['token']}\r\nHost".encode()
            )
            for each in attack.sent
        )
        answer_to(Attack(attack.name, switch), ("127.0.0.1", proxy.port))
        assert not is_off(page), attack.name


def test_nothing_that_one_worker_relays_reaches_the_page_of_another(
    policy_file: Path, figures: Figures
) -> None:
    options = ["--set", "throttle_store="]
    with running_workers(policy_file, page=f"127.0.0.1:{PAGE_PORT}", options=options) as workers:
        address = ("127.0.0.1", workers.port)
        ours = ("absolute 127.0.0.1 as", "absolute [::ffff:127.0.0.1] as", "tunnel to 127.1 as",
                "the proxy through itself by 127.0.0.2")  # fmt: skip
        for page in (PAGE_PORT, PAGE_PORT + 1):
            assert not is_off(page)
            for attack in attacks(page, workers.port):
                if attack.name.startswith(ours):
                    assert tried(attack, address, times=10) == [], attack.name
        assert "Traceback" not in workers.log()


def test_two_proxies_of_one_machine_know_each_other(
    seen: tuple[RunningProxy, int], policy_file: Path, origin: Origin
) -> None:
    _, page = seen
    with seen_proxy(policy_file, origin) as (other, _):
        for attack in attacks(page, seen[0].port):
            if "resolves.example" not in attack.name:
                assert tried(attack, ("127.0.0.1", other.port)) == [], attack.name


def test_a_client_of_another_machine(policy_file: Path, origin: Origin) -> None:
    """It may see what is its own, through the proxy and at the listener, and reaches no more."""
    with (
        netns.built(TAG, ["www.photos.example"]) as net,
        netns.inside(net.router),
        running_origin(["www.photos.example"]) as there,
        seen_proxy(policy_file, there, "0.0.0.0:8089", ["--listen-host", "0.0.0.0"]) as (proxy, _),
        netns.inside(net.client),
    ):
        router = "198.18.0.1"
        for attack in attacks(8089, proxy.port, (router, "198.18.1.1", f"[::ffff:{router}]")):
            if "resolves.example" not in attack.name:
                assert tried(attack, (router, proxy.port), netns.CLIENT[0]) == [], attack.name
        for target, to in (("http://throttle.proxy", proxy.port), ("", 8089)):
            host = "throttle.proxy" if target else "127.0.0.1:8089"
            request = f"GET {target}/api/state HTTP/1.1\r\nHost: {host}\r\n\r\n"
            answer = answer_to(Attack("own", (request.encode(),)), (router, to))
            state = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
            assert state["reader"]["sees"] == "own"
            assert state["reader"]["token"] is None


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_for_the_page_goes_to_nobody_else(
    streamed: bool, policy_file: Path, origin: Origin
) -> None:
    """Where the name resolves, and however it is written."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.2)
        there = ("127.0.0.1", elsewhere.getsockname()[1])
        options = ["--set", "stream_large_bodies=1"] if streamed else []
        resolve = {"throttle.proxy": there, "other.example": there}
        with seen_proxy(policy_file, origin, options=options, resolve=resolve) as (proxy, _):
            address = ("127.0.0.1", proxy.port)
            body = "Content-Length: 9\r\n\r\nbody body"
            chunked = "Transfer-Encoding: chunked\r\n\r\n9\r\nbody body\r\n0\r\n\r\n"
            for name in (
                "throttle.proxy",
                "Throttle.Proxy",
                "throttle.proxy.",
                "THROTTLE.PROXY:80",
            ):
                for url, host in ((name, name), (name, "a.example"), ("other.example", name)):
                    for rest in (body, chunked, "\r\n"):
                        post = (
                            f"POST http://{url}/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
                        )
                        answer = answer_to(Attack("", ((post + rest).encode(),)), address)
                        assert answer, (url, host, rest)
                for port in (80, 443):
                    bare = name.partition(":")[0]
                    tunnel = f"CONNECT {bare}:{port} HTTP/1.1\r\nHost: {bare}:{port}\r\n\r\n"
                    inner = f"POST /x HTTP/1.1\r\nHost: {bare}\r\n{body}"
                    answer_to(Attack("", (tunnel.encode(), inner.encode())), address)
                    answer_to(Attack("", (tunnel.encode(), b"no HTTP at all\r\n\r\n")), address)
            assert "Traceback" not in proxy.log()
        while True:
            try:
                connection, _ = elsewhere.accept()
            except TimeoutError:
                break
            with connection:
                connection.settimeout(0.2)
                heard.append(connection.recv(100))
    assert heard == []


def test_the_store_is_no_destination(policy_file: Path, origin: Origin) -> None:
    """By whatever name or address it can be reached."""
    with running_store() as store:
        port = store.port
        url = f"throttle_store=valkey://store.example:{port}"
        resolve = dict.fromkeys(("store.example", "resolves.example"), ("127.0.0.1", port))
        options = ["--set", url]
        assert b"PONG" in said_by(("127.0.0.1", port), b"PING\r\n")
        with seen_proxy(policy_file, origin, options=options, resolve=resolve) as (proxy, _):
            for host in (*LOOPBACK, "store.example", "STORE.example.", *own_address()):
                tunnel = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
                request = f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode()
                for attack in (Attack("", (tunnel, b"PING\r\n\r\n")), Attack("", (request,))):
                    answer = answer_to(attack, ("127.0.0.1", proxy.port))
                    assert b"PONG" not in answer
                    assert b"-ERR" not in answer
            assert "Traceback" not in proxy.log()


def said_by(address: tuple[str, int], sent: bytes) -> bytes:
    with socket.create_connection(address, 5) as sock:
        sock.sendall(sent)
        return sock.recv(4096)
