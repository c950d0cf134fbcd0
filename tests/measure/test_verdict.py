"""Verdicts on transfers that were made up: right where they can be told, never wrong."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mitmthrottle.measure.findings import Pair, Verdict
from mitmthrottle.measure.verdict import PAIRS_AT_LEAST, judge

from .transfers import Arrivals, flat, noisy, saw_tooth, transfer

Made = Callable[[random.Random], Arrivals]


def verdict(
    target: Made, control: Made, *, pairs: int = 20, seed: int = 0, later_s: float = 0.0
) -> Verdict:
    draw = random.Random(seed)
    return judge(
        [
            Pair(
                transfer(target(draw), first_byte_s=0.02 + later_s + draw.uniform(0, 0.002)),
                transfer(control(draw), first_byte_s=0.02 + draw.uniform(0, 0.002)),
                draw.random() < 0.5,
            )
            for _ in range(pairs)
        ],
        "seed",
    )


def noise(sigma: float, rate: float = 1e6) -> Made:
    return lambda draw: noisy(draw, rate, sigma)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.8])
def test_alike_is_never_called_different(sigma: float) -> None:
    found = [verdict(noise(sigma), noise(sigma), seed=seed).differentiated for seed in range(25)]
    assert True not in found
    if sigma < 0.1:  # and where there is little noise it is said
        assert found.count(False) == 25


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_half_the_rate_is_found(sigma: float) -> None:
    for seed in range(10):
        found = verdict(noise(sigma, 5e5), noise(sigma), seed=seed)
        assert found.differentiated is True
        assert found.slower == "target"
        assert found.comparison is not None
        assert found.comparison.ratio.median == pytest.approx(0.5, rel=0.2)


def test_it_says_when_the_two_are_swapped() -> None:
    found = verdict(noise(0.1), noise(0.1, 5e5))
    assert (found.differentiated, found.slower, found.mechanism) == (True, "control", None)
    assert "swapped" in found.reason


@pytest.mark.parametrize(
    ("target", "mechanism"),
    [(lambda _: flat(16_000, 5.0), "shaper"), (lambda _: saw_tooth(50_000, 0.5), "policer")],
)
def test_how_it_is_slowed(target: Made, mechanism: str) -> None:
    found = verdict(target, noise(0.3))
    assert (found.differentiated, found.mechanism) == (True, mechanism)


def test_only_the_first_byte_is_late() -> None:
    found = verdict(noise(0.05), noise(0.05), later_s=0.3)
    assert (found.differentiated, found.mechanism) == (True, "delay")
    assert found.delay is not None
    assert found.delay.median == pytest.approx(0.3, abs=0.01)


def test_a_rate_that_a_network_makes_is_no_mechanism() -> None:
    found = verdict(lambda draw: flat(2e5 * draw.lognormvariate(0, 0.7)), noise(0.1, 1e7))
    assert (found.differentiated, found.mechanism) == (True, None)


def test_too_few_pairs() -> None:
    found = verdict(noise(0.05, 5e5), noise(0.05), pairs=PAIRS_AT_LEAST - 1)
    assert found.differentiated is None
    assert "--pairs" in found.reason


def test_too_little_to_compare() -> None:
    found = verdict(lambda _: flat(1_000), lambda _: flat(1_000))
    assert found.differentiated is None
    assert "--bytes" in found.reason


def test_transfers_that_break_off_only_for_the_target() -> None:
    fine = transfer(flat(1e6))
    found = judge([Pair("reset", fine, True)] * 12, "seed")
    assert found.differentiated is True
    assert "broke off" in found.reason


def test_the_same_seed_gives_the_same_verdict() -> None:
    assert verdict(noise(0.3), noise(0.3), seed=3) == verdict(noise(0.3), noise(0.3), seed=3)
