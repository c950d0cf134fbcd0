"""Half of a thousand clients: near to half, and the same ones wherever and whenever it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.policy import Decider, Exchange, load_policy

from .figures import Figures
from .nginx import Nginx

pytestmark = pytest.mark.e2e

CLIENTS = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(1000)]
HOST = "photos.example.org"
AT_ONCE = 64
POLICY = """
version: 1
name: half
seed: {seed}
rules:
  - name: half of the clients
    when: {{host: {host}, content: photo, share: 50%}}
    then: {{block: 451}}
"""


async def status(proxy: RunningProxy, address: str) -> int:
    """Of a small photo, asked for from that address. It says whom a rule has met, however busy the
    machine is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, local_addr=(address, 0))
    writer.write(f"GET http://{HOST}/4kb.jpg HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1])


async def ask_for_all(proxy: RunningProxy, clients: Sequence[str]) -> dict[str, int]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(address: str) -> int:
        async with turn:
            return await status(proxy, address)

    return dict(zip(clients, await asyncio.gather(*map(one, clients)), strict=True))


def refused_by_a_proxy(
    nginx: Nginx, policy: Path, clients: Sequence[str] = CLIENTS
) -> frozenset[str]:
    with running_proxy(policy, upstream_ca=nginx.ca_path, resolve=nginx.resolve) as proxy:
        found = asyncio.run(ask_for_all(proxy, clients))
    assert set(found.values()) == {200, 451}
    return frozenset(address for address, code in found.items() if code == 451)


def met_in_this_process(policy: Path) -> frozenset[str]:
    decider = Decider(load_policy(policy))
    photos = (
        Exchange(HOST, status=200, content_type="image/jpeg", client_address=address)
        for address in CLIENTS
    )
    return frozenset(each.client_address for each in photos if decider.decide(each).rule)


def test_half_of_a_thousand_clients(
    nginx: Nginx, policy: Callable[[str], Path], figures: Figures
) -> None:
    path = policy(POLICY.format(seed="spring", host=HOST))
    first = refused_by_a_proxy(nginx, path)
    figures.add("share, 50 % of 1000 addresses: refused", len(first))
    assert 470 <= len(first) <= 530

    some = CLIENTS[::4]
    after_a_restart = refused_by_a_proxy(nginx, path, some)
    before = first.intersection(some)
    figures.add("share, after a restart: others than before", len(before ^ after_a_restart))
    assert after_a_restart == before

    in_this_process = met_in_this_process(path)
    figures.add("share, in another process: others", len(first ^ in_this_process))
    assert in_this_process == first

    path = policy(POLICY.format(seed="summer", host=HOST))
    other = met_in_this_process(path)
    figures.add("share, another seed: refused", len(other))
    figures.add("share, another seed: of these refused before", len(first & other))
    assert refused_by_a_proxy(nginx, path, some) == other.intersection(some)
    assert 470 <= len(other) <= 530
    assert len(first ^ other) > 200  # others
