"""How a rate is told from what arrived and when."""

import pytest

from mitmthrottle.lab.client import goodput


def shaped(size: int, rate: float, burst: int, tick_s: float = 0.1) -> list[tuple[float, int]]:
    """What a client sees of a shaper: the burst at once, then a piece of the rate each tick."""
    arrivals = [(10.0, min(burst, size))]
    sent = arrivals[0][1]
    while sent < size:
        piece = min(round(rate * tick_s), size - sent)
        # A piece comes when it is paid for, the last and smaller one sooner.
        arrivals.append((arrivals[-1][0] + piece / rate, piece))
        sent += piece
    return arrivals


@pytest.mark.parametrize("size", [21_478, 58_147, 243_017])
@pytest.mark.parametrize("burst", [1_600, 16_000])
def test_the_burst_is_left_out(size: int, burst: int) -> None:
    assert goodput(shaped(size, 16_000.0, burst), sent_at=9.9) == pytest.approx(16_000.0, rel=1e-6)


def test_arrivals_may_come_in_parts() -> None:
    whole = shaped(58_147, 16_000.0, 1_600)
    parts = [(at, size) for at, n in whole for size in (n // 2, n - n // 2)]
    assert goodput(parts, sent_at=9.9) == pytest.approx(16_000.0, rel=0.03)


def test_what_is_through_at_once_counts_from_the_request() -> None:
    assert goodput([(1.1, 30_000), (1.15, 20_000)], sent_at=0.9) == pytest.approx(200_000)


def test_nothing_is_no_rate() -> None:
    assert goodput([], sent_at=1.0) == 0.0
