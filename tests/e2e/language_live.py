"""A proxy that watches its policy file, and an origin behind it.

Rule: the file is written by the tests as people and programs write files; what came of it is read
from outside, from the log, or from what responses get.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import language_shape as shape
from .http1 import http1
from .nginx import Nginx, running_nginx

NAMES = ("*.example.org",)
HOST = "photos.example.org"
SIZE = 400_000


def policy_text(rate: str, rule: str = "photos", more: str = "") -> str:
    return (
        f"version: 1\nname: live\nrules:\n"
        f"  - name: {rule}\n    when: {{host: {HOST}, content: photo}}\n"
        f"    then: {{rate: {rate}}}\n{more}"
    )


@dataclass(frozen=True)
class Live:
    """A proxy that watches `path`."""

    proxy: RunningProxy
    path: Path
    probed: Path

    def write(self, text: str) -> float:
        """Write it in place; when that was."""
        self.path.write_text(text)
        return time.perf_counter()

    def counts(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in self.probed.read_text().splitlines()]

    def rate(self, for_s: float = 1.2) -> float:
        """What a new response gets, in bytes/s."""
        client = http1(self.proxy, HOST, secure=False, keep=False)
        answer = client.get("/8mb.jpg", until=time.perf_counter() + for_s)
        client.close()
        return shape.rate_between(answer.arrivals, answer.sent_at + 0.2, answer.sent_at + for_s)


@contextlib.contextmanager
def running_origin(root: Path) -> Iterator[Nginx]:
    """nginx with photos of 400 kB, 8 MB and 1 GB and a page, until the block ends."""
    root.mkdir()
    (root / "400k.jpg").write_bytes(noise(0, SIZE))
    (root / "8mb.jpg").write_bytes(noise(0, 8_000_000))
    (root / "page.html").write_bytes(b"<p>text")
    with (root / "1gb.jpg").open("wb") as file:
        file.truncate(1_000_000_000)
    with running_nginx(root, NAMES, trustme.CA()) as nginx:
        yield nginx


@contextlib.contextmanager
def running_live(origin: Nginx, folder: Path) -> Iterator[Live]:
    """The proxy with a policy of 64 kbit/s for `HOST`'s photos, until the block ends."""
    path, probed = folder / "policy.yaml", folder / "probed"
    path.write_text(policy_text("64 kbit/s"))
    script = Path(__file__).with_name("language_probe.py")
    options = ("-s", str(script), "--set", f"probe={probed}", "--set", "flow_detail=0")
    with running_proxy(
        path, upstream_ca=origin.ca_path, resolve=origin.resolve, options=options
    ) as proxy:
        yield Live(proxy, path, probed)
        assert "Traceback" not in proxy.log()


def near(value: float, expected: float, tolerance: float = 0.05) -> bool:
    return value == pytest.approx(expected, rel=tolerance)
