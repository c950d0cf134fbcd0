"""Stalls, cuts, counted starts and quotas on the wire, over HTTP/1 and HTTP/2, and all together."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from mitmthrottle.lab.noise import noise

from . import language_shape as shape
from .answer import COMPLETE, RESET, TRUNCATED
from .figures import Figures
from .http2 import http2
from .language_lab import PROTOCOLS, Lab, get, near, running_lab, whole

pytestmark = pytest.mark.e2e

KIB = 1024
LATE_S = 0.3
"""What a busy machine may add to a silence or a start."""

POLICY = """
version: 1
name: effects
rules:
  - {name: stall, when: {host: stall.example.org},
     then: {stall: {after: 64 KiB, for: 1.5 s, every: 128 KiB}}}
  - {name: stall once and rate, when: {host: slow-stall.example.org},
     then: {rate: 400 kbit/s, stall: {after: 64 KiB, for: 1.5 s}}}
  - {name: cut by reset, when: {host: reset.example.org, path: /large.jpg},
     then: {cut: {after: 100 KiB, how: reset}}}
  - {name: cut by closing, when: {host: close.example.org, path: /large.jpg},
     then: {cut: {after: 100 KiB, how: close}}}
  - {name: cut slowly, when: {host: slow-cut.example.org, path: /large.jpg},
     then: {rate: 400 kbit/s, cut: {after: 50 KiB, how: close}}}
  - {name: starts, when: {host: starts.example.org}, then: {requests: 5 / 2 s}}
  - {name: starts of a client, when: {host: client-starts.example.org},
     then: {requests: {limit: 3 / 3 s, per: client}}}
  - {name: quota, when: {host: quota.example.org},
     then: {quota: {free: 1 MB, per: client}, rate: 400 kbit/s}}
  - {name: quota of a response, when: {host: each.example.org},
     then: {quota: {free: 300 KiB, per: response}, rate: 400 kbit/s}}
  - {name: quota that returns, when: {host: again.example.org},
     then: {quota: {free: 200 kB, per: client, every: 4 s}, rate: 160 kbit/s}}
  - {name: quota and a ban, when: {host: ban.example.org},
     then: {quota: {free: 100 kB, per: client}, block: 429}}
  - {name: all at once, when: {host: all.example.org},
     then: {quota: {free: 100 KiB, per: response}, delay: 400 ms, rate: 800 kbit/s,
            stall: {after: 200 KiB, for: 1 s}, cut: {after: 300 KiB, how: close}}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab"), POLICY) as running:
        yield running


def said(silences: Sequence[shape.Silence]) -> str:
    return ", ".join(f"{each.length_s:.3f} s after {each.after_bytes} B" for each in silences)


# -- stall


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_stalls_come_at_their_bytes(protocol: str, lab: Lab, figures: Figures) -> None:
    answer = get(lab, "stall", "/300k.jpg", protocol=protocol)
    found = shape.silences(answer.arrivals, 0.5)
    figures.add(f"stall of 1.5 s after 64 KiB, every 128 KiB, {protocol}:", said(found))
    assert whole(answer, 300_000)
    assert [each.after_bytes for each in found] == [64 * KIB, 192 * KIB]
    assert all(1.45 < each.length_s < 1.5 + LATE_S for each in found)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stall_adds_to_a_rate(protocol: str, lab: Lab, figures: Figures) -> None:
    answer = get(lab, "slow-stall", protocol=protocol, for_s=4.5)
    found = shape.silences(answer.arrivals, 0.5)
    figures.add(f"stall of 1.5 s after 64 KiB at 400 kbit/s, {protocol}:", said(found))
    assert [each.after_bytes for each in found] == [64 * KIB]
    assert 1.45 < found[0].length_s < 1.5 + LATE_S
    resumed = next(at for at, _ in answer.arrivals if at > answer.arrivals[0][0] + 2.0)
    before = shape.rate_between(answer.arrivals, answer.sent_at, resumed - 1.0)
    after = shape.rate_between(answer.arrivals, resumed + 0.2, resumed + 9)
    assert near(before, 50_000)
    assert near(after, 50_000)
    # The silence earns no more than the burst of 100 ms.
    assert shape.bytes_by(answer.arrivals, resumed + 0.2) - 64 * KIB < 50_000 * 0.4


# -- cut


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("how", "end"), [("reset", RESET), ("close", TRUNCATED)])
def test_a_cut_over_http1(how: str, end: str, secure: bool, lab: Lab, figures: Figures) -> None:
    answer = get(lab, how, secure=secure)
    name = f"cut by {how} after 102400 B, HTTP/1 {'in TLS' if secure else 'plain'}:"
    figures.add(name, f"{answer.size} B, {answer.end}, {answer.duration_s:.3f} s")
    assert (answer.status, answer.size, answer.end) == (200, 100 * KIB, end)
    assert bytes(answer.body) == noise(0, 100 * KIB)
    assert answer.duration_s < 1.0


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_cut_over_http2_ends_its_stream_only(how: str, lab: Lab, figures: Figures) -> None:
    client = http2(lab.proxy, f"{how}.example.org")
    photo = client.get("/large.jpg")
    page = client.get("/page.html")
    client.close()
    figures.add(f"cut by {how} after 102400 B, HTTP/2:", f"{photo.size} B, {photo.end}")
    assert (photo.status, photo.size) == (200, 100 * KIB)
    assert photo.end.startswith("stream reset")
    assert bytes(photo.body) == noise(0, 100 * KIB)
    assert (page.status, page.body, page.end) == (200, b"<p>text", COMPLETE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_cut_of_what_is_slow(protocol: str, lab: Lab) -> None:
    answer = get(lab, "slow-cut", protocol=protocol)
    assert answer.size == 50 * KIB
    assert answer.end != COMPLETE
    assert near(answer.duration_s, 50 * KIB / 50_000, 0.1)


# -- requests


def starts(lab: Lab, host: str, sources: Sequence[str], leave_s: Sequence[float]) -> list[float]:
    """Seconds from the first asking to each one's first byte, in the order of asking (50 ms apart);
    infinity for those who left before."""
    begun = time.perf_counter()

    def one(number: int) -> float:
        time.sleep(max(0.0, begun + 0.05 * number - time.perf_counter()))
        answer = get(
            lab, host, "/page.html", secure=False, source=sources[number], for_s=leave_s[number]
        )
        return answer.arrivals[0][0] - begun if answer.arrivals else float("inf")

    with ThreadPoolExecutor(len(sources)) as pool:
        return list(pool.map(one, range(len(sources))))


def test_starts_are_counted(lab: Lab, figures: Figures) -> None:
    """Never more than five within 2 s, in the order in which they asked; those who have left by
    then take nobody's turn."""
    leaves = [8.0] * 15
    for gone in (7, 9, 11):
        leaves[gone] = 0.3
    found = starts(lab, "starts", ["127.0.0.1"] * 15, leaves)
    stayed = [at for at in found if at < float("inf")]
    figures.add("requests, 5 / 2 s: starts of 12 who stay", ", ".join(f"{at:.2f}" for at in stayed))
    assert len(stayed) == 12
    assert stayed == sorted(stayed)
    assert stayed[4] < 0.2 + LATE_S
    for number, at in enumerate(stayed[5:]):
        earlier = stayed[number]
        assert earlier + 2.0 - LATE_S / 2 < at < earlier + 2.0 + LATE_S


def test_starts_are_counted_for_each_client(lab: Lab, figures: Figures) -> None:
    sources = ["127.0.9.1"] * 5 + ["127.0.9.2"] * 3
    found = starts(lab, "client-starts", sources, [8.0] * 8)
    figures.add(
        "requests, 3 / 3 s per client: 5 of one, 3 of another",
        ", ".join(f"{at:.2f}" for at in found),
    )
    assert max(*found[:3], *found[5:]) < 0.7
    for number in (3, 4):
        assert found[number - 3] + 2.8 < found[number] < found[number - 3] + 3.0 + LATE_S


# -- quota


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_quota_is_free_to_its_last_byte(protocol: str, lab: Lab, figures: Figures) -> None:
    source = {"http/1.1": "127.0.10.1", "h2": "127.0.10.2"}[protocol]
    first = get(lab, "quota", protocol=protocol, source=source, for_s=4.0)
    second = get(lab, "quota", protocol=protocol, source=source, for_s=2.0)
    fast = [(at, size) for at, size in first.arrivals]
    began = first.arrivals[0][0]
    free_at, _ = next(
        (at, so_far)
        for (at, _), so_far in zip(
            fast, itertools.accumulate(size for _, size in fast), strict=True
        )
        if so_far >= 1_000_000
    )
    switched = shape.bytes_by(fast, free_at + 0.03)
    rate = shape.rate_between(fast, began + 1.0, began + 4.0)
    again = shape.rate_between(second.arrivals, second.sent_at + 0.3, second.sent_at + 2)
    at_once = shape.bytes_by(fast, began + 0.5)
    figures.add(f"quota of 1 MB, {protocol}: free after", free_at - began, "s")
    figures.add(f"quota of 1 MB, {protocol}: had come 30 ms later", switched, "B")
    figures.add(f"quota of 1 MB, {protocol}: in the first 0.5 s", at_once, "B")
    figures.add(f"quota of 1 MB, {protocol}: then", f"{rate * 8e-3:.1f}, {again * 8e-3:.1f} kbit/s")
    assert free_at - began < 0.5  # a quota that ends 25 kB too soon would take that long
    # A burst of 100 ms at most, and what comes in 30 ms.
    assert switched <= 1_000_000 + 50_000 * 0.13 + 1
    assert near(rate, 50_000)
    assert near(again, 50_000)
    assert bytes(first.body) == noise(0, first.size)


def test_a_quota_is_shared_by_the_responses_of_a_client(lab: Lab) -> None:
    """Three at once take 1 MB between them, and another client has its own."""
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(get, lab, "quota", source=source, for_s=2.0)
            for source in ("127.0.10.3",) * 3 + ("127.0.10.4",)
        ]
        answers = [job.result() for job in jobs]
    at_once = [shape.bytes_by(each.arrivals, each.sent_at + 1.0) for each in answers]
    assert 1_000_000 <= sum(at_once[:3]) < 1_000_000 + 3 * 55_000
    assert 1_000_000 <= at_once[3] < 1_000_000 + 55_000


def test_a_quota_of_each_response(lab: Lab) -> None:
    for _ in range(2):
        answer = get(lab, "each", for_s=2.0)
        at_once = shape.bytes_by(answer.arrivals, answer.sent_at + 0.8)
        assert 300 * KIB <= at_once < 300 * KIB + 0.9 * 50_000
        assert near(shape.rate_between(answer.arrivals, answer.sent_at + 0.8, 1e9), 50_000)


def test_a_quota_returns_with_its_period(lab: Lab, figures: Figures) -> None:
    """200 kB in each 4 s, then 20 kB/s: in 10 s from anywhere at least twice, in mid-response."""
    answer = get(lab, "again", for_s=10.0)
    counts = shape.windows(answer.arrivals, 0.25, answer.sent_at, answer.sent_at + 10)
    gifts = [number for number, count in enumerate(counts) if count > 60_000]
    figures.add(
        "quota of 200 kB every 4 s: fast in the quarters", ", ".join(map(str, gifts)), "of 40"
    )
    merged = [at for n, at in enumerate(gifts) if n == 0 or at - gifts[n - 1] > 1]
    assert len(merged) in (3, 4)
    assert all(near(later - at, 16, 0.15) for at, later in itertools.pairwise(merged[1:]))
    slow = [count for count in counts if count < 60_000]
    assert near(sum(slow) / len(slow), 5_000, 0.15)


def test_a_quota_before_a_ban(lab: Lab) -> None:
    source = "127.0.10.9"
    under_way = get(lab, "ban", "/300k.jpg", source=source, for_s=3.0)
    refused = get(lab, "ban", "/300k.jpg", source=source)
    assert refused.status == 429
    assert under_way.status == 200


# -- together


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_effects_compose(protocol: str, lab: Lab, figures: Figures) -> None:
    """100 KiB free (without the delay: the quota is not used up at its first byte), then 100 kB/s
    to 200 KiB, a second's silence, on to 300 KiB, and the end."""
    answer = get(lab, "all", protocol=protocol)
    at_once = shape.bytes_by(answer.arrivals, answer.sent_at + 0.3)
    found = shape.silences(answer.arrivals, 0.5)
    figures.add(
        f"quota, delay, rate, stall and cut, {protocol}:",
        f"{at_once} B at once, {said(found)}, {answer.size} B in {answer.duration_s:.2f} s",
    )
    assert 100 * KIB <= at_once <= 100 * KIB + 0.4 * 100_000
    assert [each.after_bytes for each in found] == [200 * KIB]
    assert 0.95 < found[0].length_s < 1.0 + LATE_S
    assert answer.size == 300 * KIB
    assert answer.end != COMPLETE
    assert near(answer.duration_s, 3.05, 0.1)
