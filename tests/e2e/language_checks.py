"""What ought to become of an ask: checks that tell what they measured.

Rule: a check reads nothing but what came and when; rates are in kbit/s, as the policies' own.
"""

from __future__ import annotations

import statistics

from . import language_shape as shape
from .answer import COMPLETE, OPEN
from .language_asks import LATE_S, Check, Seen


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


def ends(how: str, size: int | None = None, at_s: float | None = None) -> Check:
    """Cut off after so many bytes, or so many seconds after the policy's start; `how` is what
    `Answer.end` says."""

    def check(seen: Seen) -> str:
        when = seen.answer.ended_at - seen.begun
        said = f"{seen.answer.size} bytes, {seen.answer.end}, at {when:.2f} s"
        assert seen.answer.end.startswith(how), said
        assert size is None or seen.answer.size == size, said
        assert at_s is None or at_s - 0.1 < when < at_s + 2 * LATE_S, said
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
    """The first byte after that time, as a client sees it that has connected."""

    def check(seen: Seen) -> str:
        assert seen.answer.arrivals, "nothing came"
        said = f"first byte after {seen.answer.first_byte_s:.3f} s"
        assert delay_s <= seen.answer.first_byte_s < delay_s + LATE_S, said
        return said if then is None else f"{said}, {then(seen)}"

    return check


def waits(seen: Seen) -> list[float]:
    """Seconds to the first byte of each answer, sorted."""
    assert all(answer.arrivals for answer in seen.answers), "some got nothing"
    return sorted(answer.first_byte_s for answer in seen.answers)


def delays(
    *, mean: tuple[float, float] | None = None, spread: tuple[float, float] | None = None,
    percentiles: tuple[tuple[float, float, float], ...] = (),
) -> Check:  # fmt: skip
    """Mean and standard deviation of the waits, and (share, least, most) of their percentiles, in
    seconds."""

    def check(seen: Seen) -> str:
        found = waits(seen)
        average = statistics.mean(found)
        deviation = statistics.pstdev(found)
        at = {share: found[int(share * len(found))] for share, _, _ in percentiles}
        said = f"mean {average:.3f} s, deviation {deviation:.3f} s" + "".join(
            f", p{100 * share:g} {each:.3f} s" for share, each in at.items()
        )
        assert mean is None or mean[0] < average < mean[1], said
        assert spread is None or spread[0] < deviation < spread[1], said
        assert all(least < at[share] < most for share, least, most in percentiles), said
        return said

    return check


def starts(at_once: int, period_s: float) -> Check:
    """So many first bytes at once, and no more than that within the period."""

    def check(seen: Seen) -> str:
        found = waits(seen)
        said = ", ".join(f"{each:.2f}" for each in found) + " s"
        assert found[at_once - 1] < 2 * LATE_S, said
        for number, each in enumerate(found[at_once:]):
            expected = found[number] + period_s
            assert expected - 0.1 < each < expected + 2 * LATE_S, said
        return said

    return check


def free_then(
    free_bytes: int, kbit: float, burst_bytes: float = 0.0, *, within_s: float = 1.0
) -> Check:
    """So much at once, the rest at that rate."""

    def check(seen: Seen) -> str:
        answer = seen.answer
        at_once = shape.bytes_by(answer.arrivals, answer.sent_at + within_s)
        found = 8e-3 * shape.rate_between(answer.arrivals, answer.sent_at + within_s, float("inf"))
        said = f"{at_once} bytes in the first {within_s:g} s, then {found:.1f} kbit/s"
        paced = (within_s + 0.15) * kbit * 125
        assert free_bytes <= at_once <= free_bytes + burst_bytes + paced, said
        assert abs(found - kbit) <= 0.05 * kbit, said
        return said

    return check


def burst_then(burst_bytes: int, kbit: float) -> Check:
    def check(seen: Seen) -> str:
        answer = seen.answer
        at_once = sum(size for at, size in answer.arrivals if at < answer.arrivals[0][0] + 0.1)
        said = f"{at_once} bytes in 100 ms, then {rate(kbit)(seen)}"
        assert burst_bytes <= at_once < burst_bytes + 0.16 * kbit * 125, said
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
    """At the origin, the first moments not counted; its first byte not before the delay."""

    def check(seen: Seen) -> str:
        assert seen.uploaded, "nothing came"
        start = seen.uploaded[0][0] + 0.2
        found = 8e-3 * shape.rate_between(seen.uploaded, start, float("inf"))
        said = f"{found:.1f} kbit/s of {kbit:g} up"
        if delay_s:
            after = seen.uploaded[0][0] - seen.asked_at
            said += f", first byte after {after:.3f} s"
            assert delay_s <= after < delay_s + 2 * LATE_S, said  # it has connected, too
        assert abs(found - kbit) <= 0.05 * kbit, said
        return said

    return check


def policed_upload(kbit: float, burst_bytes: float) -> Check:
    return lambda seen: _teeth(seen.uploaded, kbit, burst_bytes)
