"""A dozen people who watch videos through the balancer, each time over a new connection.

Rule: what they say is what has arrived here. Whoever is cut off is counted, and starts again.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import urllib.request
from pathlib import Path

import httpcore
import httpx

from mitmthrottle.lab.client import client

PROXY = "http://fleet-balancer:8080"
URL = "https://video.twimg.com/video.mp4"
PEOPLE = int(os.environ.get("PEOPLE", "12"))
EVERY_S = float(os.environ.get("EVERY_S", "10"))
AGAIN_S = 0.1
ONE_BY_ONE_S = 0.25
"""So that not all videos end at the same moment."""
GONE = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpx.HTTPError,
    ssl.SSLError,
)


class Crowd:
    """What has arrived, and what has not."""

    def __init__(self) -> None:
        self.came_bytes = 0
        self.under_way = 0
        self.broken = 0

    async def watch(self, trust: Path, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            try:
                async with client(PROXY, trust) as person:
                    await self._one(person)
            except GONE:
                self.broken += 1
                await asyncio.sleep(AGAIN_S)

    async def _one(self, person: httpx.AsyncClient) -> None:
        headers = {"accept-encoding": "identity"}
        async with person.stream("GET", URL, headers=headers) as response:
            self.under_way += 1
            try:
                async for piece in response.aiter_raw():
                    self.came_bytes += len(piece)
            finally:
                self.under_way -= 1


def authority() -> Path:
    """A file with the proxies' certificate, as any of them hands it out."""
    through = urllib.request.build_opener(urllib.request.ProxyHandler({"http": PROXY}))
    with through.open("http://mitm.it/cert/pem", timeout=10) as answer:
        pem = answer.read()
    path = Path("/tmp/authority.pem")
    path.write_bytes(pem)
    return path


async def main() -> None:
    crowd, trust = Crowd(), authority()
    watching = [
        asyncio.create_task(crowd.watch(trust, number * ONE_BY_ONE_S)) for number in range(PEOPLE)
    ]
    before, then = 0, time.monotonic()
    while not any(task.done() for task in watching):
        await asyncio.sleep(EVERY_S)
        came, now = crowd.came_bytes, time.monotonic()
        rate = 8 * (came - before) / (now - then)
        before, then = came, now
        print(
            f"{time.time():.3f} {rate / 1e6:.3f} Mbit/s, {crowd.under_way} videos under way, "
            f"{crowd.broken} were broken",
            flush=True,
        )
    await asyncio.gather(*watching)


asyncio.run(main())
