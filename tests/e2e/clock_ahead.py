"""Sixty slowed responses and a host that no rule is for, as JSON: `python -m ... SECONDS`.

A program of its own, so that it can run under another clock (see test_clock.py).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
import time
from pathlib import Path

import httpx

from mitmthrottle.lab.origin import running_origin
from mitmthrottle.lab.proxy import running_proxy

SLOW, FREE = "slow.example.org", "free.example.org"
RESPONSES = 60
RATE_BYTES_PER_S = 16_000
POLICY = f"""
version: 1
name: clock
rules:
  - {{name: slow, when: {{host: {SLOW}}}, then: {{rate: 128 kbit/s}}}}
"""


async def _download(client: httpx.AsyncClient, until: float) -> float:
    """Bytes per second from the second second on."""
    url = f"https://{SLOW}/bytes/100000000"
    counted, since = 0, 0.0
    async with client.stream("GET", url) as response:
        async for piece in response.aiter_raw():
            now = time.monotonic()
            if not since:
                since = now + 1
            elif now >= since:
                counted += len(piece)
            if now >= until:
                return counted / (now - since)
    raise AssertionError("the origin's body was not endless")


async def _other_host(client: httpx.AsyncClient, until: float) -> list[float]:
    """Seconds that each answer took, two a second."""
    took = []
    while time.monotonic() < until:
        begun = time.monotonic()
        (await client.get(f"https://{FREE}/bytes/1000")).raise_for_status()
        took.append(time.monotonic() - begun)
        await asyncio.sleep(0.5)
    return took


async def _visit(proxy_url: str, trust: ssl.SSLContext, for_s: float) -> dict[str, object]:
    limits = httpx.Limits(max_connections=RESPONSES + 4)
    async with httpx.AsyncClient(
        proxy=proxy_url, verify=trust, timeout=30, limits=limits
    ) as client:
        until = time.monotonic() + for_s
        free = asyncio.create_task(_other_host(client, until))
        rates = await asyncio.gather(*(_download(client, until) for _ in range(RESPONSES)))
        return {"clock_s": time.monotonic(), "rates": rates, "took_s": await free}


def main(for_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder, "policy.yaml")
        policy.write_text(POLICY)
        with (
            running_origin([SLOW, FREE]) as origin,
            running_proxy(policy, upstream_ca=origin.ca_path, resolve=origin.resolve) as proxy,
        ):
            trust = ssl.create_default_context(cafile=proxy.ca_path)
            print(json.dumps(asyncio.run(_visit(proxy.url, trust, for_s))))


if __name__ == "__main__":
    main(float(sys.argv[1]))
