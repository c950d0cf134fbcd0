"""One response, each rate, each protocol: what comes in is what the policy says, from the first
byte on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import curve
from .answer import Answer
from .figures import Figures
from .http1 import http1
from .http2 import http2
from .nginx import Nginx

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RATES = {"64k": 8_000, "128k": 16_000, "1M": 125_000, "10M": 1_250_000, "50M": 6_250_000}
TEXTS = {
    "64k": "64 kbit/s",
    "128k": "128 kbit/s",
    "1M": "1 Mbit/s",
    "10M": "10 Mbit/s",
    "50M": "50 Mbit/s",
}
PROTOCOLS = ("http/1.1 plain", "http/1.1 tls", "http/2 tls")
OVER_S = 10.0
FAST_OVER_S = 5.0
"""50 Mbit/s: as much as the machine can do, so each by itself."""

MEAN_ERROR = 0.005
FIRST_SECOND = 1.15
PEAK = 1.25


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    rules = "".join(
        f"""
  - name: {name}
    when: {{host: r{name.lower()}.example.org, content: photo}}
    then: {{rate: {TEXTS[name]}}}"""
        for name in RATES
    )
    path = policy(f"version: 1\nname: accuracy\nrules:{rules}\n")
    with running_proxy(path, upstream_ca=nginx.ca_path, resolve=nginx.resolve) as running:
        yield running


def watch(proxy: RunningProxy, rate: str, protocol: str, over_s: float = OVER_S) -> Answer:
    """A photo of 100 MB, for a little longer than is looked at."""
    host = f"r{rate.lower()}.example.org"
    if protocol == "http/2 tls":
        two = http2(proxy, host, keep=False)
        answer = two.send("GET", "/100mb.jpg")
        two.run(lambda: bool(answer.arrivals))
        two.run(lambda: False, until=answer.arrivals[0][0] + over_s + 0.3)
        two.close()
        return answer
    one = http1(proxy, host, secure=protocol == "http/1.1 tls", keep=False)
    answer = one.get("/100mb.jpg", until=time.perf_counter() + over_s + 0.6)
    one.close()
    return answer


@pytest.fixture(scope="module")
def slow_ones(proxy: RunningProxy) -> dict[tuple[str, str], Answer]:
    """All up to 10 Mbit/s at once: together they are less than what the machine can do."""
    answers: dict[tuple[str, str], Answer] = {}

    def one(rate: str, protocol: str) -> None:
        answers[rate, protocol] = watch(proxy, rate, protocol)

    threads = [
        threading.Thread(target=one, args=(rate, protocol))
        for rate in RATES
        if rate != "50M"
        for protocol in PROTOCOLS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def check(
    answer: Answer, rate: str, protocol: str, figures: Figures, over_s: float = OVER_S
) -> None:
    asked = RATES[rate]
    arrivals = answer.arrivals
    assert answer.status == 200
    assert arrivals[-1][0] - arrivals[0][0] > over_s - 0.3, answer.end
    error = curve.mean_bytes_per_s(arrivals, over_s) / asked - 1
    first = curve.bytes_between(arrivals, 0, 1) / asked
    peak = curve.peak_bytes_per_s(arrivals, over_s) / curve.mean_bytes_per_s(arrivals, over_s)
    label = f"accuracy, {TEXTS[rate]}, {protocol}:"
    figures.add(f"{label} error of the mean over {over_s:g} s", 100 * error, "%")
    figures.add(f"{label} bytes of the first second over the rate", first)
    figures.add(f"{label} peak of 250 ms over the mean", peak)
    # What comes at once at first counts as much more as the time is shorter.
    assert abs(error) <= MEAN_ERROR * OVER_S / over_s
    assert first <= FIRST_SECOND
    assert peak <= PEAK


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("rate", [rate for rate in RATES if rate != "50M"])
def test_the_rate_is_what_was_asked(
    rate: str,
    protocol: str,
    slow_ones: dict[tuple[str, str], Answer],
    figures: Figures,
) -> None:
    check(slow_ones[rate, protocol], rate, protocol, figures)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_50_mbit_per_second(protocol: str, proxy: RunningProxy, figures: Figures) -> None:
    """One after the other, with the machine to itself."""
    answer = watch(proxy, "50M", protocol, FAST_OVER_S)
    check(answer, "50M", protocol, figures, FAST_OVER_S)
