"""An origin for downloads, one for uploads, and a proxy with a policy: where each effect is tried.

Rule: each rule has a host of its own, so that one proxy serves many tests and no budget is met
twice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from .answer import COMPLETE, Answer
from .http1 import http1
from .http2 import http2
from .language_sink import Sink, running_sink
from .nginx import running_nginx

PROTOCOLS = ("http/1.1", "h2")
_NAMES = ("*.example.org",)


@dataclass(frozen=True)
class Lab:
    """What one needs to know of them."""

    proxy: RunningProxy
    sink: Sink


@contextlib.contextmanager
def running_lab(folder: Path, policy: str, uploads: tuple[str, ...] = ()) -> Iterator[Lab]:
    """Until the block ends. `uploads`: the hosts (without `.example.org`) that take uploads;
    every other one has `/large.jpg` of 8 MB, `/1gb.jpg`, `/300k.jpg` and `/page.html`."""
    root = folder / "www"
    root.mkdir()
    (root / "large.jpg").write_bytes(noise(0, 8_000_000))
    (root / "300k.jpg").write_bytes(noise(0, 300_000))
    (root / "page.html").write_bytes(b"<p>text")
    with (root / "1gb.jpg").open("wb") as file:
        file.truncate(1_000_000_000)
    path = folder / "policy.yaml"
    path.write_text(policy)
    authority = trustme.CA()
    with running_nginx(root, _NAMES, authority) as nginx, running_sink(_NAMES, authority) as sink:
        resolve = dict(nginx.resolve)
        for host in uploads:
            resolve[f"{host}.example.org:443"] = ("127.0.0.1", sink.port)
            resolve[f"{host}.example.org:80"] = ("127.0.0.1", sink.plain_port)
        with running_proxy(path, upstream_ca=nginx.ca_path, resolve=resolve) as proxy:
            yield Lab(proxy, sink)
            assert "Traceback" not in proxy.log()


def get(
    lab: Lab,
    host: str,
    path: str = "/large.jpg",
    *,
    protocol: str = "http/1.1",
    secure: bool = True,
    source: str = "127.0.0.1",
    for_s: float | None = None,
    keep: bool = True,
) -> Answer:
    """Fetch on a connection of its own, for that long at most."""
    name = f"{host}.example.org"
    client = (
        http2(lab.proxy, name, source=source, keep=keep)
        if protocol == "h2"
        else http1(lab.proxy, name, secure=secure, source=source, keep=keep)
    )
    answer = client.get(path, until=None if for_s is None else time.perf_counter() + for_s)
    client.close()
    return answer


def whole(answer: Answer, size: int) -> bool:
    return answer.end == COMPLETE and bytes(answer.body) == noise(0, size)


def near(value: float, expected: float, tolerance: float = 0.05) -> bool:
    return value == pytest.approx(expected, rel=tolerance)
