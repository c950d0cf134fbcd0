"""mitmproxy lets a client have five connections to an address: slow photos must not fill them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mitmthrottle.lab.origin import running_origin
from mitmthrottle.lab.proxy import running_proxy

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
        urls = [*(f"{HOST}/photo.jpg?{n}" for n in range(10)), f"{HOST}/index.html"]
        told = subprocess.run(
            [
                *("curl", "--silent", "--http2", "--parallel", "--parallel-max", "20"),
                *("--proxy", proxy.url, "--cacert", str(proxy.ca_path), "--max-time", "30"),
                *("--write-out", "%{http_version} %{url} %{time_total}\n", "--output"),
                *(" --output ".join([f"{tmp_path}/out"] * len(urls)).split()),
                *urls,
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    lines = [line.split() for line in told.stdout.splitlines()]
    assert {version for version, _, _ in lines} == {"2"}
    took = {url: float(seconds) for _, url, seconds in lines}
    page = took.pop(urls[-1])
    assert len(took) == 10
    assert min(took.values()) > 2.5
    assert page < 2.0  # a slot becomes free after 2.5
