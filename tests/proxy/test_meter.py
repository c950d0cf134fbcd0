"""The rate that is told of a body."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mitmthrottle.proxy.bodies.meter import Meter


def meter(*pieces: tuple[float, int]) -> Meter:
    found = Meter()
    for at, size in pieces:
        found.passed(size, 100.0 + at)
    return found


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        ((0.0, 1000),),
        ((0.0, 1000), (0.001, 50_000)),  # at once
        ((0.0, 400), (0.05, 800), (0.1, 800)),  # over before it could be told within a percent
    ],
)
def test_what_is_too_short_is_not_told(pieces: Sequence[tuple[float, int]]) -> None:
    assert meter(*pieces).bytes_per_s is None


def test_the_first_piece_took_no_time() -> None:
    assert meter((0.0, 400), (1.0, 1000), (2.0, 1000)).bytes_per_s == 1000


def test_nor_did_a_burst() -> None:
    burst = [(n / 1000, 4000) for n in range(5)]
    rest = [(0.004 + n, 1000) for n in range(1, 11)]
    assert meter(*burst, *rest).bytes_per_s == 1000


def test_a_pause_counts() -> None:
    assert meter((0.0, 400), (1.0, 1000), (10.0, 1000)).bytes_per_s == 200


def test_all_bytes_are_counted_whatever_the_rate() -> None:
    assert meter((0.0, 400), (0.005, 600)).sent_bytes == 1000
