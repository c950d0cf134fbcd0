"""A rate that falls under a response leaves no silence longer than a piece at the new rate,
however it came to fall: by a stage, a saved policy or a command."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy

from . import language_shape as shape
from .answer import Answer
from .figures import Figures
from .http1 import http1
from .http2 import http2
from .language_tools import running_web
from .nginx import Nginx, running_nginx

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

HOST = "photos.example.org"
AFTER_S, FOR_S = 2.0, 6.0
LONGEST_SILENCE_S = 0.7
POLICY = """
version: 1
name: falls
rules:
  - {name: the photos, when: {host: photos.example.org}, then: %s}
"""
STAGES = "{from: response, stages: [{for: 2 s, rate: 10 Mbit/s}, {rate: 64 kbit/s}]}"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("falls")
    (root / "photo.jpg").write_bytes(noise(0, 8_000_000))
    with running_nginx(root, ("*.example.org",), trustme.CA()) as nginx:
        yield nginx


def get(proxy: RunningProxy, protocol: str) -> Answer:
    until = time.perf_counter() + FOR_S
    if protocol == "http/2":
        return http2(proxy, HOST).get("/photo.jpg", until=until)
    return http1(proxy, HOST, secure=True, keep=False).get("/photo.jpg", until=until)


@pytest.mark.parametrize("protocol", ["http/1.1", "http/2"])
@pytest.mark.parametrize("how", ["stage", "saved policy", "command"])
def test_no_long_silence(
    how: str, protocol: str, origin: Nginx, policy: Callable[[str], Path], figures: Figures
) -> None:
    path = policy(POLICY % (STAGES if how == "stage" else "{rate: 10 Mbit/s}"))
    with (
        running_web(path, upstream_ca=origin.ca_path, resolve=origin.resolve) as web,
        ThreadPoolExecutor(1) as pool,
    ):
        job = pool.submit(get, web.proxy, protocol)
        time.sleep(AFTER_S)
        if how == "saved policy":
            path.write_text(POLICY % "{rate: 64 kbit/s}")
        elif how == "command":
            web.run("throttle.rate", "the photos", "64 kbit/s")
        answer = job.result()
    start = answer.arrivals[0][0]
    before = shape.rate_between(answer.arrivals, start + 0.5, start + 1.5)
    # Asked of the file four times a second; all is at its new rate well within two seconds.
    after = shape.rate_between(answer.arrivals, start + 4.0, answer.arrivals[-1][0])
    times = [at for at, _ in answer.arrivals]
    longest = max(later - earlier for earlier, later in itertools.pairwise(times))
    figures.add(f"10 Mbit/s to 64 kbit/s, {how}, {protocol}: longest silence", longest, "s")
    assert before > 1_000_000
    assert after == pytest.approx(8_000, rel=0.1)
    assert longest < LONGEST_SILENCE_S
