"""Requests, and what ought to become of them: the tables of the shipped policies' and the examples'
tests are made of these.

Rule: an ask says in plain facts who asks for what and when; its check reads nothing but what came
and when, and tells what it measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mitmthrottle.lab.proxy import RunningProxy

from . import language_shape as shape
from .answer import COMPLETE, OPEN, Answer
from .http1 import http1
from .http2 import http2
from .language_sink import Sink
from .language_upload import upload

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"

FILES = {
    "page.html": 40_000,
    "40k.jpg": 40_000,
    "40k.mp4": 40_000,
    "70k.jpg": 70_000,
    "1mb.jpg": 1_000_000,
    "1mb.html": 1_000_000,
    "1mb.bin": 1_000_000,
    "4mb.jpg": 4_000_000,
    "4mb.mp4": 4_000_000,
    "4mb.html": 4_000_000,
    "8mb.mp3": 8_000_000,
    "20mb.bin": 20_000_000,
    "20mb.jpg": 20_000_000,
    "20mb.mp4": 20_000_000,
    "20mb.html": 20_000_000,
    "300mb.mp4": 300_000_000,
}
"""What the origin has under every name, in bytes; holes, since what they say does not matter."""

LATE_S = 0.15
"""What asking may cost besides, on a busy machine."""


@dataclass(frozen=True)
class Seen:
    """What came of an ask. Times are of `time.perf_counter`."""

    answers: Sequence[Answer]
    begun: float
    """the policy's start"""
    uploaded: tuple[tuple[float, int], ...] = ()
    """when how much of an upload came to the origin"""

    @property
    def answer(self) -> Answer:
        return self.answers[0]


Check = Callable[[Seen], str]
"""Tells what was measured; AssertionError, saying so too, if it is not what it ought to be."""


@dataclass(frozen=True)
class Ask:
    """A request (or several streams of one connection, or one after the other on it)."""

    what: str
    host: str
    path: str
    check: Check
    agent: str = DESKTOP
    headers: tuple[tuple[str, str], ...] = ()
    source: str | None = None
    """None: an address of its own"""
    method: str = "GET"
    secure: bool = False
    h2: bool = False
    streams: int = 1
    rows: int = 1
    """how many, one after the other on the connection"""
    at_s: float = 0.0
    """seconds after the policy's start"""
    for_s: float = 3.0
    """leaves after that"""
    upload_bytes: int = 0


@dataclass
class Told:
    """What the checks of a policy have said."""

    figures: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def of(self, what: str, check: Callable[[], str]) -> None:
        try:
            self.figures.append((what, check()))
        except AssertionError as fault:
            self.figures.append((what, f"WRONG: {fault}"))
            self.faults.append(f"{what}: {fault}")


def run(proxy: RunningProxy, sink: Sink, asks: Sequence[Ask], net: int, begun: float) -> Told:
    """Ask all at their times; each has an address of 127.`net`.0.0/16 of its own."""

    def one(numbered: tuple[int, Ask]) -> Seen:
        number, ask = numbered
        source = ask.source or f"127.{net}.{number // 250}.{number % 250 + 1}"
        time.sleep(max(0.0, begun + ask.at_s - time.perf_counter()))
        if ask.upload_bytes:
            return _upload(proxy, sink, ask, source, f"/{net}-{number}", begun)
        return Seen(_get(proxy, ask, source), begun)

    told = Told()
    with ThreadPoolExecutor(max(1, len(asks))) as pool:
        jobs = [pool.submit(one, each) for each in enumerate(asks)]
        for ask, job in zip(asks, jobs, strict=True):
            seen = job.result()
            told.of(ask.what, lambda ask=ask, seen=seen: ask.check(seen))  # type: ignore[misc]
    return told


def _get(proxy: RunningProxy, ask: Ask, source: str) -> list[Answer]:
    headers = [*ask.headers]
    until = time.perf_counter() + ask.for_s
    if not ask.h2:
        client = http1(proxy, ask.host, secure=ask.secure, source=source, keep=False)
        answers = []
        for _ in range(ask.rows):
            sent_at = time.perf_counter()
            client.send(ask.method, ask.path, [("User-Agent", ask.agent), *headers])
            answers.append(client.receive(until=until))
            answers[-1].sent_at = sent_at
        client.close()
        return answers
    streams = http2(proxy, ask.host, source=source, keep=False)
    fields = [("user-agent", ask.agent), *((name.lower(), value) for name, value in headers)]
    answers = [streams.send(ask.method, ask.path, fields) for _ in range(ask.streams)]
    streams.run(lambda: all(each.end != OPEN for each in answers), until=until)
    streams.close()
    return answers


def _upload(
    proxy: RunningProxy, sink: Sink, ask: Ask, source: str, path: str, begun: float
) -> Seen:
    protocol = "h2" if ask.h2 else "http/1.1"
    upload(
        proxy, ask.host, path, ask.upload_bytes,
        protocol=protocol, secure=ask.secure or ask.h2, source=source, for_s=ask.for_s,
    )  # fmt: skip
    return Seen([], begun, tuple(sink.last(path).arrivals))


# -- checks


def rate(kbit: float, *, tolerance: float = 0.05, settle_s: float = 0.3) -> Check:
    """All answers together come at that rate, their first moments not counted."""

    def check(seen: Seen) -> str:
        arrivals = sorted(each for answer in seen.answers for each in answer.arrivals)
        assert arrivals, "nothing came"
        start = arrivals[0][0] + settle_s
        found = 8e-3 * shape.rate_between(arrivals, start, float("inf"))
        said = f"{found:.1f} kbit/s of {kbit:g}"
        assert abs(found - kbit) <= tolerance * kbit, said
        return said

    return check


def shared_rate(kbit: float, each: float) -> Check:
    """The answers come at that rate together, and each at its part of it."""

    def check(seen: Seen) -> str:
        said = rate(kbit)(seen)
        for answer in seen.answers:
            start = answer.sent_at + 0.8
            found = 8e-3 * shape.rate_between(answer.arrivals, start, float("inf"))
            assert abs(found - each) <= 0.1 * each, f"{found:.1f} kbit/s, not {each:g} for each"
        return said

    return check


def free(within_s: float = 1.5) -> Check:
    """All of it comes at once."""

    def check(seen: Seen) -> str:
        answer = seen.answers[-1]
        said = f"{answer.size} bytes, {answer.end}, in {answer.duration_s:.2f} s"
        if answer.end != COMPLETE:
            said = f"{answer.size} bytes, {answer.end}"
        assert (answer.status, answer.end) == (200, COMPLETE), said
        assert answer.duration_s < within_s, said
        return said

    return check


def slowed(seen: Seen) -> str:
    """Not through when the client leaves; for bodies that would be at once."""
    said = f"{seen.answer.size} bytes, {seen.answer.end}"
    assert seen.answer.end == OPEN, said
    assert seen.answer.size > 0, said
    return said


def held(seen: Seen) -> str:
    """Not a byte, and nothing that would end the waiting."""
    said = f"status {seen.answer.status}, {seen.answer.size} bytes, {seen.answer.end}"
    assert (seen.answer.status, seen.answer.size, seen.answer.end) == (0, 0, OPEN), said
    return said


def status(code: int, after_s: float = 0.0) -> Check:
    def check(seen: Seen) -> str:
        answer = seen.answer
        said = f"status {answer.status} after {answer.headers_at - answer.sent_at:.2f} s"
        assert answer.status == code, said
        assert after_s <= answer.headers_at - answer.sent_at < after_s + LATE_S, said
        return said

    return check


def ends(how: str, size: int) -> Check:
    """Cut off after so many bytes; `how` is what `Answer.end` says."""

    def check(seen: Seen) -> str:
        said = f"{seen.answer.size} bytes, {seen.answer.end}"
        assert seen.answer.end.startswith(how), said
        assert seen.answer.size == size, said
        return said

    return check


def policed(kbit: float, burst_bytes: float) -> Check:
    """Bursts at line speed and silences between; the mean of whole periods is the rate."""

    def check(seen: Seen) -> str:
        return _teeth(
            sorted(each for answer in seen.answers for each in answer.arrivals), kbit, burst_bytes
        )

    return check


def _teeth(arrivals: shape.Arrivals, kbit: float, burst_bytes: float) -> str:
    silence_s = burst_bytes / (kbit * 125)
    teeth = shape.silences(arrivals, 0.4 * silence_s)
    assert len(teeth) > 3, f"{len(teeth)} silences"
    counted = teeth[-1].after_bytes - teeth[0].after_bytes
    found = 8e-3 * counted / sum(each.length_s for each in teeth[1:])
    said = (
        f"{found:.1f} kbit/s of {kbit:g}, {counted / (len(teeth) - 1):.0f} bytes at a time, "
        f"{sum(each.length_s for each in teeth) / len(teeth):.2f} s apart"
    )
    assert abs(found - kbit) <= 0.05 * kbit, said
    assert 0.7 * burst_bytes <= counted / (len(teeth) - 1) <= 1.05 * burst_bytes, said
    return said


def late(delay_s: float, then: Check | None = None) -> Check:
    """The first byte after that time."""

    def check(seen: Seen) -> str:
        assert seen.answer.arrivals, "nothing came"
        said = f"first byte after {seen.answer.first_byte_s:.3f} s"
        assert delay_s <= seen.answer.first_byte_s < delay_s + LATE_S, said
        return said if then is None else f"{said}, {then(seen)}"

    return check


def free_then(free_bytes: int, kbit: float, burst_bytes: float = 0.0) -> Check:
    """So much at once, the rest at that rate."""

    def check(seen: Seen) -> str:
        answer = seen.answer
        at_once = shape.bytes_by(answer.arrivals, answer.sent_at + 1.0)
        found = 8e-3 * shape.rate_between(answer.arrivals, answer.sent_at + 1.0, float("inf"))
        said = f"{at_once} bytes in the first second, then {found:.1f} kbit/s"
        assert free_bytes <= at_once <= free_bytes + burst_bytes + 1.15 * kbit * 125, said
        assert abs(found - kbit) <= 0.05 * kbit, said
        return said

    return check


def rates_over_time(
    *parts: tuple[float, float, float], from_start: bool, tolerance: float = 0.06
) -> Check:
    """(from, to, kbit/s) in seconds of the policy's or the request's start; infinite: over 20
    Mbit/s."""

    def check(seen: Seen) -> str:
        answer = seen.answer
        zero = seen.begun if from_start else answer.sent_at
        found = []
        for start, stop, _ in parts:
            found.append(8e-3 * shape.rate_between(answer.arrivals, zero + start, zero + stop))
        said = ", ".join(f"{each:.0f}" for each in found) + " kbit/s"
        for one, (_, _, kbit) in zip(found, parts, strict=True):
            if kbit == float("inf"):
                assert one > 20_000, said
            else:
                assert abs(one - kbit) <= tolerance * kbit, said
        return said

    return check


def stalls(*places: tuple[int, float]) -> Check:
    """Silences of so many seconds after so many bytes."""

    def check(seen: Seen) -> str:
        shortest = min(length for _, length in places)
        found = shape.silences(seen.answer.arrivals, 0.8 * shortest)
        said = ", ".join(f"{each.length_s:.2f} s after {each.after_bytes}" for each in found)
        assert [each.after_bytes for each in found] == [after for after, _ in places], said
        for each, (_, length_s) in zip(found, places, strict=True):
            assert length_s - 0.05 < each.length_s < length_s + LATE_S, said
        return said

    return check


def upload_rate(kbit: float, delay_s: float = 0.0) -> Check:
    """At the origin, the first moments not counted."""

    def check(seen: Seen) -> str:
        assert seen.uploaded, "nothing came"
        start = seen.uploaded[0][0] + 0.2
        found = 8e-3 * shape.rate_between(seen.uploaded, start, float("inf"))
        said = f"{found:.1f} kbit/s of {kbit:g} up"
        assert abs(found - kbit) <= 0.05 * kbit, said
        return said

    return check


def policed_upload(kbit: float, burst_bytes: float) -> Check:
    return lambda seen: _teeth(seen.uploaded, kbit, burst_bytes)
