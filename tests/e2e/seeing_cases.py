"""Two hundred bodies of all kinds, fetched and sent through one proxy, each as its receiver saw it.

Rule: the receiver has a clock and a socket of its own and knows nothing of the proxy: the client
for what comes down, the origin for what goes up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mitmthrottle.lab.proxy import RunningProxy

from .curve import Arrivals
from .http1 import http1
from .http2 import http2
from .language_sink import Sink
from .language_upload import upload

PROTOCOLS = ("plain", "tls", "h2")
RATES = {"64k": 8_000, "128k": 16_000, "1m": 125_000, "4m": 500_000}

RULES = """
  - name: {rate}
    when: {{host: [{rate}.example.org, up-{rate}.example.org]}}
    then: {{rate: {bytes} B/s, upload: {{rate: {bytes} B/s}}}}
"""
POLICY = (
    "version: 1\nname: seeing\nrules:\n"
    + "".join(RULES.format(rate=name, bytes=rate) for name, rate in RATES.items())
    + """
  - name: late
    when: {host: late.example.org}
    then: {rate: 16 kB/s, delay: {mean: 300 ms, jitter: 100 ms}}
  - name: shared
    when: {host: shared.example.org}
    then: {rate: {limit: 100 kB/s, per: client}}
  - name: nested
    when: {host: nested.example.org}
    then: {rate: [50 kB/s, {limit: 150 kB/s, per: rule}]}
  - name: policer
    when: {host: policer.example.org}
    then: {rate: 40 kB/s, as: policer}
  - name: burst
    when: {host: burst.example.org}
    then: {rate: 20 kB/s, burst: 64 KiB}
  - name: stall
    when: {host: stall.example.org}
    then: {rate: 40 kB/s, stall: {after: 20 kB, for: 700 ms, every: 40 kB}}
  - name: cut
    when: {host: cut.example.org}
    then: {rate: 40 kB/s, cut: {after: 90 kB, how: close}}
  - name: staged
    when: {host: staged.example.org}
    then: {stages: [{for: 1 s, rate: 60 kB/s}, {for: 1 h, rate: 20 kB/s}], from: response}
  - name: events
    when: {host: events.example.org}
    then: {rate: 1 Mbit/s}
"""
)


@dataclass(frozen=True, slots=True)
class Case:
    """One body. `size` is what is asked for; `leave_s`: the client goes after so many seconds."""

    host: str
    protocol: str
    size: int
    leave_s: float | None = None
    source: str = "127.0.0.1"
    start_s: float = 0.0
    """later than its turn"""

    @property
    def is_upload(self) -> bool:
        return self.host.startswith("up-")


def cases() -> Iterator[Case]:
    for protocol in PROTOCOLS:
        for rate, bytes_per_s in RATES.items():
            for seconds in (0.4, 1.0, 2.5, 5.0):
                yield Case(rate, protocol, int(bytes_per_s * seconds))
            for seconds in (1.0, 3.0):
                yield Case(rate, protocol, int(bytes_per_s * 20), leave_s=seconds)
            for seconds in (1.5, 4.0):
                yield Case(f"up-{rate}", protocol, int(bytes_per_s * seconds))
        for _ in range(6):
            yield Case("late", protocol, 48_000)
        for number in range(8):
            # Some begin later, so that the shares change while bodies are under way.
            source = f"127.0.3.{PROTOCOLS.index(protocol) + 1}"
            yield Case("shared", protocol, 50_000, source=source, start_s=0.3 * (number % 3))
        for _ in range(5):
            yield Case("nested", protocol, 60_000)
        for _ in range(4):
            yield Case("policer", protocol, 160_000)
            yield Case("burst", protocol, 130_000)
        for host, size in (("stall", 120_000), ("cut", 200_000), ("staged", 120_000)):
            yield Case(host, protocol, size)
            yield Case(host, protocol, size)
    for number in range(12):
        yield Case("events", "plain", 20_000 + 5_000 * number)


MOST_AT_ONCE = 40  # more would keep the receivers, not the proxy, from being in time
APART_S = 0.02


def watch(proxy: RunningProxy, sink: Sink, todo: dict[str, Case]) -> dict[str, Arrivals]:
    """What each receiver saw, by path; see `path_of`."""
    seen: dict[str, Arrivals] = {}
    under_way = threading.Semaphore(MOST_AT_ONCE)

    def one(path: str, case: Case) -> None:
        try:
            time.sleep(case.start_s)
            seen[path] = _watch(proxy, sink, path, case)
        finally:
            under_way.release()

    threads = []
    for path, case in todo.items():
        under_way.acquire()
        threads.append(threading.Thread(target=one, args=(path, case)))
        threads[-1].start()
        time.sleep(APART_S)
    for thread in threads:
        thread.join()
    return seen


def path_of(case: Case, number: int) -> str:
    """No two fetches have the same."""
    return f"/{case.size}.jpg?{number}"


def _watch(proxy: RunningProxy, sink: Sink, path: str, case: Case) -> Arrivals:
    host = f"{case.host}.example.org"
    if case.is_upload:
        protocol = "h2" if case.protocol == "h2" else "http/1.1"
        secure = case.protocol != "plain"
        upload(proxy, host, path, case.size, protocol=protocol, secure=secure)
        return sink.last(path).arrivals
    until = None if case.leave_s is None else time.perf_counter() + case.leave_s
    client = (
        http2(proxy, host, source=case.source, keep=False)
        if case.protocol == "h2"
        else http1(proxy, host, secure=case.protocol == "tls", source=case.source, keep=False)
    )
    with contextlib.closing(client):
        return client.get(path, until=until).arrivals
