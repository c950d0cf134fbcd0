"""Half of a thousand clients: near to half, and the same ones wherever and whenever it is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.policy import Decider, Exchange, load_policy

from .figures import Figures
from .nginx import Nginx

pytestmark = pytest.mark.e2e

CLIENTS = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(1000)]
HOST = "photos.example.org"
DELAY_S = 0.5
AT_ONCE = 64
POLICY = """
version: 1
name: half
seed: {seed}
rules:
  - name: half of the clients
    when: {{host: {host}, content: photo, share: 50%}}
    then: {{delay: 500 ms}}
"""


async def first_byte_s(proxy: RunningProxy, address: str) -> float:
    """From the request to the first byte of a small photo, asked for from that address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, local_addr=(address, 0))
    start = time.perf_counter()
    writer.write(f"GET http://{HOST}/4kb.jpg HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    taken = time.perf_counter() - start
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(4096)
    writer.close()
    return taken


async def ask_for_all(proxy: RunningProxy) -> dict[str, float]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(address: str) -> float:
        async with turn:
            return await first_byte_s(proxy, address)

    return dict(zip(CLIENTS, await asyncio.gather(*map(one, CLIENTS)), strict=True))


def slowed_by_a_proxy(nginx: Nginx, policy: Path) -> frozenset[str]:
    with running_proxy(policy, upstream_ca=nginx.ca_path, resolve=nginx.resolve) as proxy:
        times = asyncio.run(ask_for_all(proxy))
        slowed = frozenset(address for address, taken in times.items() if taken >= DELAY_S)
        # Who is not slowed on a busy machine must not look as if: the two are well apart.
        assert (
            max(taken for address, taken in times.items() if address not in slowed) < 0.8 * DELAY_S
        )
    return slowed


def test_half_of_a_thousand_clients(
    nginx: Nginx, policy: Callable[[str], Path], figures: Figures
) -> None:
    path = policy(POLICY.format(seed="spring", host=HOST))
    first = slowed_by_a_proxy(nginx, path)
    figures.add("share, 50 % of 1000 addresses: slowed", len(first))
    assert 470 <= len(first) <= 530

    after_a_restart = slowed_by_a_proxy(nginx, path)
    figures.add("share, after a restart: others than before", len(first ^ after_a_restart))
    assert after_a_restart == first

    decider = Decider(load_policy(path))
    in_this_process = {
        address
        for address in CLIENTS
        if decider.decide(
            Exchange(HOST, status=200, content_type="image/jpeg", client_address=address)
        ).rule
    }
    figures.add("share, in another process: others", len(first ^ in_this_process))
    assert in_this_process == first

    other = slowed_by_a_proxy(nginx, policy(POLICY.format(seed="summer", host=HOST)))
    figures.add("share, another seed: slowed", len(other))
    figures.add("share, another seed: of these slowed before", len(first & other))
    assert 470 <= len(other) <= 530
    assert len(first ^ other) > 200  # others
