"""Real HAProxy before the proxy: shares and budgets go by the client that HAProxy has.

Every client has an address of its own in 127.0.0.0/8 and talks to HAProxy only; the proxy sees
one address, and without the header they would all be one client.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import running_proxy
from mitmthrottle.policy import Decider, Exchange, load_policy

from .figures import Figures
from .haproxy import running_haproxy
from .nginx import Nginx

pytestmark = pytest.mark.e2e

CLIENTS = [f"127.2.{n // 250}.{n % 250 + 1}" for n in range(600)]
AT_ONCE = 40
SEED = "spring"
LISTED = ("--set", "throttle_proxy_protocol=127.0.0.1/32")
HALF, BUDGET = "half.example.org", "budget.example.org"
LIMIT_BYTES_PER_S = 100_000
OVER_S = 5.0
POLICY = f"""
version: 1
name: behind
seed: {SEED}
rules:
  - name: half of the clients
    when: {{host: {HALF}, share: 50%}}
    then: {{block: 451}}
  - name: each client
    when: {{host: {BUDGET}}}
    then: {{rate: {{limit: {LIMIT_BYTES_PER_S} B/s, per: client}}}}
"""


async def status(port: int, source: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(f"GET http://{HALF}/4kb.jpg HTTP/1.1\r\nHost: {HALF}\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def statuses(port: int) -> dict[str, int]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(source: str) -> int:
        async with turn:
            return await status(port, source)

    return dict(zip(CLIENTS, await asyncio.gather(*map(one, CLIENTS)), strict=True))


async def rate(port: int, source: str, path: str = "/100mb.jpg") -> float:
    """Bytes per second of one long response, without its first second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(f"GET http://{BUDGET}{path} HTTP/1.1\r\nHost: {BUDGET}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    begin = time.perf_counter() + 1.0
    counted, last = 0, begin
    while (now := time.perf_counter()) < begin + OVER_S:
        piece = await asyncio.wait_for(reader.read(65536), 30)
        if now >= begin:
            counted += len(piece)
            last = time.perf_counter()
    writer.close()
    return counted / (last - begin)


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_half_of_600_real_clients(
    nginx: Nginx, policy: Callable[[str], Path], figures: Figures, send: str
) -> None:
    path = policy(POLICY)
    with (
        running_proxy(path, options=LISTED, resolve=nginx.resolve) as proxy,
        running_haproxy([proxy.port], send) as port,
    ):
        got = asyncio.run(statuses(port))
        log = proxy.log()
    assert Counter(got.values()).keys() == {200, 451}
    blocked = {client for client, code in got.items() if code == 451}
    share = len(blocked) / len(CLIENTS)
    figures.add(f"share 50 % of 600 clients behind HAProxy ({send})", 100 * share, "%")
    assert 0.47 <= share <= 0.53
    decider = Decider(load_policy(path))
    expected = {
        client
        for client in CLIENTS
        if decider.decide(Exchange(HALF, status=200, client_address=client)).rule
    }
    figures.add(f"of these, others than by their own addresses ({send})", len(blocked ^ expected))
    assert blocked == expected
    assert " closed: " not in log


async def all_rates(port: int, connections: dict[str, int]) -> dict[str, list[float]]:
    who = [client for client, count in connections.items() for _ in range(count)]
    found = await asyncio.gather(*(rate(port, client) for client in who))
    by_client: dict[str, list[float]] = {client: [] for client in connections}
    for client, each in zip(who, found, strict=True):
        by_client[client].append(each)
    return by_client


def test_a_budget_for_each_real_client(
    nginx: Nginx, policy: Callable[[str], Path], figures: Figures
) -> None:
    connections = {"127.3.0.1": 1, "127.3.0.2": 2, "127.3.0.3": 4, "127.3.0.4": 1}
    with (
        running_proxy(policy(POLICY), options=LISTED, resolve=nginx.resolve) as proxy,
        running_haproxy([proxy.port]) as port,
    ):
        rates = asyncio.run(all_rates(port, connections))
    for each in rates.values():
        error = sum(each) / LIMIT_BYTES_PER_S - 1
        figures.add(f"per: client behind HAProxy, {len(each)} responses: error", 100 * error, "%")
        assert abs(error) < 0.05
        assert max(each) / min(each) < 1.15


def test_without_the_header_all_are_one_client(
    nginx: Nginx, policy: Callable[[str], Path], figures: Figures
) -> None:
    """What the option is for."""
    with (
        running_proxy(policy(POLICY), resolve=nginx.resolve) as proxy,
        running_haproxy([proxy.port], send="") as port,
    ):
        got = asyncio.run(statuses(port))
        assert len(set(got.values())) == 1
        rates = asyncio.run(all_rates(port, {"127.3.0.1": 1, "127.3.0.2": 1}))
    total = sum(sum(each) for each in rates.values())
    figures.add("two clients behind HAProxy without the header, together", total / 1000, "kB/s")
    assert total == pytest.approx(LIMIT_BYTES_PER_S, rel=0.05)


def test_a_client_cannot_bring_a_header_of_its_own(
    nginx: Nginx, policy: Callable[[str], Path]
) -> None:
    """HAProxy's header comes first; the client's is payload, and no HTTP."""

    async def ask(port: int) -> tuple[bytes, int]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=("127.3.0.9", 0)
        )
        writer.write(b"PROXY TCP4 127.3.0.1 127.0.0.1 1 1\r\n")
        writer.write(f"GET http://{HALF}/4kb.jpg HTTP/1.1\r\nHost: {HALF}\r\n\r\n".encode())
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return answer, await status(port, "127.3.0.8")

    with (
        running_proxy(policy(POLICY), options=LISTED, resolve=nginx.resolve) as proxy,
        running_haproxy([proxy.port]) as port,
    ):
        answer, after = asyncio.run(ask(port))
        assert b" 200 " not in answer
        assert b" 451 " not in answer
        assert after in (200, 451)


def test_health_checks_are_nobody(nginx: Nginx, policy: Callable[[str], Path]) -> None:
    """HAProxy's own connections say LOCAL, and a plain check says nothing: no line of either."""
    with (
        running_proxy(policy(POLICY), options=LISTED, resolve=nginx.resolve) as proxy,
        running_haproxy([proxy.port], "send-proxy-v2 check inter 100ms") as port,
    ):
        time.sleep(1.0)
        assert asyncio.run(status(port, "127.3.0.8")) in (200, 451)
        assert "mitmthrottle: connection from" not in proxy.log()
        assert proxy.log().count("client connect") > 3
