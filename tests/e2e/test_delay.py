"""When the first byte comes: fixed, drawn from a distribution, or by percentiles."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from .figures import Figures
from .http1 import Http1, http1
from .nginx import Nginx

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
name: delay
rules:
  - {name: fixed, when: {host: fixed.example.org}, then: {delay: 300 ms}}
  - {name: normal, when: {host: normal.example.org},
     then: {delay: {mean: 200 ms, jitter: 40 ms, distribution: normal}}}
  - {name: uniform, when: {host: uniform.example.org},
     then: {delay: {mean: 200 ms, jitter: 100 ms, distribution: uniform}}}
  - {name: lognormal, when: {host: lognormal.example.org},
     then: {delay: {mean: 200 ms, jitter: 60 ms, distribution: lognormal}}}
  - {name: pareto, when: {host: pareto.example.org},
     then: {delay: {mean: 200 ms, jitter: 60 ms, distribution: pareto}}}
  - {name: percentiles, when: {host: percentiles.example.org},
     then: {delay: {percentiles: {p50: 100 ms, p90: 300 ms, p100: 500 ms}}}}
"""


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    with running_proxy(policy(POLICY), upstream_ca=nginx.ca_path, resolve=nginx.resolve) as running:
        yield running
        assert "Traceback" not in running.log()


def delays(proxy: RunningProxy, host: str, count: int = 100) -> tuple[list[float], list[float]]:
    """When the first byte of a page came, and when that of a page without a delay did, asked for
    right after it: both sorted. Ten connections share the asking."""
    found, undelayed = list[float](), list[float]()

    def ask(client: Http1, control: Http1) -> None:
        for _ in range(count // 10):
            found.append(client.get("/page.html").first_byte_s)
            undelayed.append(control.get("/page.html").first_byte_s)
        client.close()
        control.close()

    def connect(name: str) -> Http1:
        return http1(proxy, name, secure=False)

    clients = [(connect(host), connect("free.example.org")) for _ in range(10)]
    threads = [threading.Thread(target=ask, args=pair) for pair in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(undelayed) == count
    return sorted(found), sorted(undelayed)


EXTRA_S = 0.04
"""What may come on top of the delay, and of what the same request costs without one."""


def test_a_fixed_delay(proxy: RunningProxy, figures: Figures) -> None:
    found, undelayed = delays(proxy, "fixed.example.org", 30)
    figures.add("delay, 300 ms: shortest", 1e3 * found[0], "ms")
    figures.add("delay, 300 ms: median", 1e3 * found[15], "ms")
    figures.add("delay, none: median", 1e3 * undelayed[15], "ms")
    assert found[0] >= 0.3
    # Neighbours make some of them later still, never all.
    assert found[0] < 0.3 + EXTRA_S
    assert found[10] < 0.3 + EXTRA_S + undelayed[15]


@pytest.mark.parametrize(
    ("name", "spread_s"),
    [("normal", 0.040), ("uniform", 0.100 / 3**0.5), ("lognormal", 0.060), ("pareto", 0.060)],
)
def test_a_delay_with_jitter(
    name: str, spread_s: float, proxy: RunningProxy, figures: Figures
) -> None:
    found, undelayed = delays(proxy, f"{name}.example.org")
    mean, cost = statistics.mean(found), statistics.mean(undelayed)
    spread, cost_spread = statistics.pstdev(found), statistics.pstdev(undelayed)
    figures.add(f"delay, {name} of 200 ms: mean", 1e3 * mean, "ms")
    figures.add(f"delay, {name}: spread (asked {1e3 * spread_s:.0f} ms)", 1e3 * spread, "ms")
    # Four standard errors of the mean of a hundred.
    assert 0.2 - 0.4 * spread_s < mean < 0.2 + 0.4 * spread_s + EXTRA_S + cost
    if name == "pareto":  # its spread is made by rare long ones: look at its shape instead
        assert found[0] >= 0.155
        assert found[50] < 0.195 + EXTRA_S + cost
        return
    assert 0.5 * spread_s < spread < 1.7 * spread_s + cost_spread
    if name == "uniform":
        assert found[0] >= 0.1
        assert found[-10] < 0.3 + EXTRA_S + undelayed[-10]


def test_a_delay_by_percentiles(proxy: RunningProxy, figures: Figures) -> None:
    found, undelayed = delays(proxy, "percentiles.example.org")
    figures.add("delay, p50 100 ms: median", 1e3 * found[50], "ms")
    figures.add("delay, p90 300 ms: 90th percentile", 1e3 * found[90], "ms")
    assert found[0] >= 0.05
    assert 0.08 < found[50] < 0.14 + EXTRA_S + undelayed[50]
    assert 0.2 < found[90] < 0.42 + EXTRA_S + undelayed[90]
    assert found[-1] < 0.5 + 2 * EXTRA_S + undelayed[-1]
