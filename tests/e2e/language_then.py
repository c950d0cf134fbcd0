"""What each `then` example of docs/policy.md promises, as asks of a host of its own.

Rule: figures and effects are the example's own; only lengths of time, periods and quotas are
scaled.
"""

from __future__ import annotations

from .answer import RESET, TRUNCATED
from .language_asks import Ask, Check
from .language_checks import (
    burst_then,
    delays,
    ends,
    free,
    free_then,
    held,
    late,
    policed,
    rate,
    rates_over_time,
    shared_rate,
    stalls,
    starts,
    status,
    upload_rate,
)
from .language_when import Example

KIB = 1024
MIB = 1024 * 1024
INF = float("inf")


def one(text: str, check: Check, path: str = "/20mb.bin", **more: object) -> Example:
    return Example(text, (Ask("it", "", path, check, **more),))  # type: ignore[arg-type]


def up(what: str, check: Check, size: int, **more: object) -> Ask:
    return Ask(what, "up", "", check, upload_bytes=size, for_s=7.0, **more)  # type: ignore[arg-type]


def examples() -> list[Example]:
    """The hosts of their asks are left open, but for `up`: the same host's name for uploads."""
    return [*_rates(), *_times(), *_ends(), *_counts(), *_stages(), *_links()]


def _rates() -> list[Example]:
    return [
        one("rate: 128 kbit/s", rate(128)),
        one("rate: {limit: 2 Mbit/s, per: client}", shared_rate(2000, 1000), h2=True, streams=2),
        Example(
            "rate: [1 Mbit/s, {limit: 8 Mbit/s, per: client}, {limit: 20 Mbit/s, per: rule}]",
            (
                Ask("one", "", "/20mb.bin", rate(1000)),
                Ask("ten of a client", "", "/20mb.bin", shared_rate(8000, 800), h2=True,
                    streams=10, at_s=3.5),
                *(
                    Ask(f"ten of each of three clients, {n}", "", "/20mb.bin",
                        rate(20_000 / 3, settle_s=0.8), h2=True, streams=10, at_s=7.0)
                    for n in (1, 2, 3)
                ),
            ),
        ),
        one("{rate: 128 kbit/s, burst: 16 KiB}", burst_then(16 * KIB, 128)),
        one("{rate: 128 kbit/s, as: shaper}", rate(128)),
        one("{rate: {limit: 140 kbit/s, per: connection}, as: policer, burst: 32 KiB}",
            policed(140, 32 * KIB), for_s=10.5, h2=True, streams=2),
        one("pass: true", free(), "/4mb.jpg"),
    ]  # fmt: skip


def _times() -> list[Example]:
    many = {"path": "/100b.jpg", "h2": True, "every_s": 0.03, "for_s": 8.0}
    return [
        one("delay: 300 ms", late(0.3), "/100b.jpg"),
        one("delay: {mean: 300 ms, jitter: 80 ms}",
            delays(mean=(0.26, 0.40), spread=(0.055, 0.115)), streams=60, **many),
        one("delay: {mean: 300 ms, jitter: 200 ms, distribution: lognormal}",
            delays(mean=(0.22, 0.46), percentiles=((0, 0.03, 0.2), (0.5, 0.18, 0.38))),
            streams=100, **many),
        one("delay: {percentiles: {p50: 80 ms, p95: 400 ms, p99: 2 s}}",
            delays(percentiles=((0, 0.04, 0.12), (0.5, 0.06, 0.2), (0.9, 0.2, 0.7))),
            streams=100, **many),
        one("stall: {after: 256 KiB, for: 10 s}", stalls((256 * KIB, 10.0)), "/1mb.jpg",
            for_s=11.0),
        one("stall: {after: 256 KiB, for: 2 s, every: 1 MiB}",
            stalls(*((256 * KIB + n * MIB, 2.0) for n in range(4))), "/4mb.jpg", for_s=10.0),
    ]  # fmt: skip


def _ends() -> list[Example]:
    return [
        one("cut: {after: 512 KiB}", ends(RESET, 512 * KIB)),
        one("cut: {after: 512 KiB, how: close}", ends(TRUNCATED, 512 * KIB)),
        one("block: 451", status(451)),
        one("block: reset", ends(RESET, 0)),
        one("{block: timeout}", held),
        one("{block: 503, delay: 2 s}", status(503, after_s=2.0)),
    ]


def _counts() -> list[Example]:
    small = "/100b.jpg"
    mine = "127.199.0.1"
    return [
        Example(
            "requests: 10 / min",
            (Ask("13", "", small, starts(10, 3.0), h2=True, streams=13, for_s=5.0),),
            (("min", "3 s"),),
        ),
        one("requests: {limit: 5/s, per: client}", starts(5, 1.0), small, h2=True, streams=10),
        Example(
            "requests: [100 / hour, {limit: 3 / 10 s, per: client}]",
            (
                Ask("5 of a client", "", small, starts(3, 3.0), h2=True, streams=5, for_s=5.0),
                Ask("3 of another", "", small, starts(3, 3.0), h2=True, streams=3),
            ),
            (("10 s", "3 s"),),
        ),
        Example(
            "{quota: {free: 500 MiB, per: client, every: day, tz: Europe/Berlin}, rate: 1 Mbit/s}",
            (Ask("it", "", "/20mb.bin", free_then(2_000_000, 1000)),),
            (("500 MiB", "2 MB"),),
        ),
        one("{quota: {free: 7 MB, per: connection}, rate: 1.5 Mbit/s}",
            free_then(7_000_000, 1500)),
        Example(
            "{quota: {free: 2 GB, every: 30 min}, block: 429}",
            (
                Ask("within it", "", "/1mb.jpg", free(), source=mine, at_s=0.3),
                Ask("beyond it", "", "/1mb.jpg", status(429), source=mine, at_s=2.0),
                Ask("another client", "", "/1mb.jpg", free(), at_s=2.0),
                Ask("the next period", "", "/1mb.jpg", free(), source=mine, at_s=5.5),
            ),
            (("2 GB", "500 kB"), ("30 min", "5 s")),
        ),
    ]  # fmt: skip


def _stages() -> list[Example]:
    train = ((0.2, 1.45, 5000), (1.7, 2.95, 800), (3.2, 4.45, 128), (4.7, 5.9, 5000))
    return [
        Example(
            "stages:\n  - {for: 60 s, rate: 5 Mbit/s}\n"
            "  - {for: 60 s, rate: 128 kbit/s, as: policer}\n  - {block: 451}",
            (
                Ask("first", "", "/20mb.bin", rate(5000), at_s=0.1, for_s=2.7),
                Ask("second", "", "/20mb.bin", policed(128, 8000), at_s=3.1, for_s=2.8),
                Ask("under way to the third", "", "/20mb.bin", ends(RESET, at_s=6.0), at_s=0.1,
                    for_s=8.0),
                Ask("third", "", "/20mb.bin", status(451), at_s=6.3),
            ),
            (("60 s", "3 s"),),
        ),
        Example(
            "{from: response, stages: [{for: 60 s, pass: true}, {rate: 1 Mbit/s, burst: 64 KiB}]}",
            (
                Ask("it", "", "/300mb.mp4",
                    rates_over_time((0, 0.3, INF), (1.0, 3, 1000), from_start=False), at_s=8.0),
            ),
            (("60 s", "300 ms"),),
        ),
        Example(
            "{rate: 1 Mbit/s, stages: [{for: 10 min, delay: 2 s}]}",
            (
                Ask("before", "", "/20mb.bin", late(2.0, rate(1000)), at_s=0.3, for_s=4.0),
                Ask("after", "", "/20mb.bin", late(0.0, rate(1000)), at_s=4.2),
            ),
            (("10 min", "4 s"),),
        ),
        one("trace: train.csv", rates_over_time(*train, from_start=True, tolerance=0.1),
            at_s=0.05, for_s=6.2),
        one("{trace: train.csv, from: response, delay: 100 ms}",
            late(0.1, rates_over_time(*train, from_start=False, tolerance=0.1)), at_s=1.0,
            for_s=6.2),
    ]  # fmt: skip


def _links() -> list[Example]:
    return [
        Example("upload: {rate: 1 Mbit/s}", (up("upload", upload_rate(1000), 300_000),)),
        Example(
            "{rate: 2 Mbit/s, upload: {rate: {limit: 256 kbit/s, per: client}, burst: 16 KiB, "
            "delay: 200 ms}}",
            (
                Ask("download", "", "/20mb.bin", rate(2000)),
                up("upload", upload_rate(256, delay_s=0.2), 120_000, secure=True),
            ),
        ),
        Example(
            "like: wpt/3gslow",
            (
                Ask("download", "", "/20mb.bin", late(0.2, rate(780)), at_s=1.0),
                up("upload", upload_rate(330), 120_000),
            ),
        ),
        Example(
            "{like: devtools/slow-4g, delay: 150 ms}",
            (
                Ask("download", "", "/20mb.bin", late(0.15, rate(1440)), at_s=1.0),
                up("upload", upload_rate(675), 200_000),
            ),
        ),
        Example(
            "{like: lighthouse/mobile-slow-4g, upload: {rate: 1 Mbit/s}}",
            (
                Ask("download", "", "/20mb.bin", late(0.15, rate(1638.4)), at_s=1.0),
                up("upload", upload_rate(1000), 300_000, h2=True),
            ),
        ),
    ]
