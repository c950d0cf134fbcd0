"""mitmproxy lets a client have five connections to an address: slow photos must not fill them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mitmthrottle.lab.client import Fetched, client, fetch
from mitmthrottle.lab.origin import running_origin
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

POLICY = """version: 1
name: slots
rules:
  - name: photos
    when: {host: pbs.twimg.com, content: photo}
    then: {rate: 128 kbit/s}
"""
HOST = "https://pbs.twimg.com"


@pytest.mark.e2e
def test_ten_slow_photos_over_http1_leave_room_for_the_page(tmp_path: Path) -> None:
    """An HTTP/2 client before an HTTP/1 origin: each response has a connection to the origin."""
    policy = tmp_path / "slots.yaml"
    policy.write_text(POLICY)
    with (
        running_origin(["pbs.twimg.com"], h2=False) as origin,
        running_proxy(
            policy,
            # By default mitmproxy offers a client only what the origin speaks.
            options=["--set", "connection_strategy=lazy", "--set", "upstream_cert=false"],
            upstream_ca=origin.ca_path,
            resolve=origin.resolve,
        ) as proxy,
    ):
        page, photos = asyncio.run(_visit(proxy))
    assert all(photo.http_version == "HTTP/2" for photo in photos)
    assert page.duration_s < 0.5
    assert min(photo.duration_s for photo in photos) > 2.5


async def _visit(proxy: RunningProxy) -> tuple[Fetched, list[Fetched]]:
    async with client(proxy.url, proxy.ca_path, h2=True) as browser:
        await fetch(browser, f"{HOST}/api/timeline.json")  # the connection is there
        photos = [asyncio.create_task(fetch(browser, f"{HOST}/photo.jpg")) for _ in range(10)]
        await asyncio.sleep(0.5)
        page = await fetch(browser, f"{HOST}/index.html")
        return page, [await photo for photo in photos]
