"""Delays: every form, with the mean and spread that were asked for."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.policy import Delay

MANY = 20_000


def delay(**keys: object) -> Delay:
    return Delay.model_validate(keys)


def draw(asked: Delay, count: int = MANY) -> list[float]:
    unit = random.Random("seed")
    return [asked.sample(unit) for _ in range(count)]


def test_fixed() -> None:
    assert draw(delay(mean="300 ms"), 3) == [0.3, 0.3, 0.3]
    assert Delay(mean_s=0.3).sample(random.Random()) == 0.3


@pytest.mark.parametrize("distribution", ["normal", "lognormal", "pareto"])
def test_mean_and_deviation_are_as_asked(distribution: str) -> None:
    asked = delay(mean="300 ms", jitter="40 ms", distribution=distribution)
    drawn = draw(asked)
    assert statistics.fmean(drawn) == pytest.approx(0.3, rel=0.01)
    assert statistics.stdev(drawn) == pytest.approx(0.04, rel=0.1)
    assert min(drawn) >= 0


def test_uniform_fills_the_interval_and_no_more() -> None:
    drawn = draw(delay(mean="300 ms", jitter="100 ms", distribution="uniform"))
    assert 0.2 <= min(drawn) < 0.201
    assert 0.399 < max(drawn) <= 0.4


def test_no_delay_is_negative() -> None:
    drawn = draw(delay(mean="50 ms", jitter="200 ms"))
    assert min(drawn) == 0


def test_percentiles_are_met() -> None:
    drawn = sorted(draw(delay(percentiles={"p50": "80 ms", "p95": "400 ms", "p99": "2 s"})))
    assert drawn[MANY // 2] == pytest.approx(0.08, rel=0.03)
    assert drawn[MANY * 95 // 100] == pytest.approx(0.4, rel=0.05)
    assert drawn[MANY * 99 // 100] == pytest.approx(2.0, rel=0.1)
    assert drawn[0] >= 0.04  # p0 is half of the smallest
    assert drawn[-1] == 2.0  # never above the largest


def test_p0_and_p100_may_be_given() -> None:
    drawn = draw(delay(percentiles={"p0": "10 ms", "p100": "20 ms"}))
    assert 0.01 <= min(drawn) < max(drawn) <= 0.02
    assert statistics.fmean(drawn) == pytest.approx(0.015, rel=0.02)


def test_the_same_seed_gives_the_same_delays() -> None:
    asked = delay(mean="300 ms", jitter="80 ms", distribution="lognormal")
    assert draw(asked, 10) == draw(asked, 10)


@given(
    st.floats(0.001, 100),
    st.floats(0.001, 100),
    st.sampled_from(["normal", "uniform", "lognormal", "pareto"]),
    st.integers(),
)
def test_a_sample_is_a_time(mean: float, jitter: float, distribution: str, seed: int) -> None:
    asked = Delay.model_validate({"mean": mean, "jitter": jitter, "distribution": distribution})
    assert 0 <= asked.sample(random.Random(seed)) < 1e12


def test_descriptions() -> None:
    assert delay(mean="300 ms").describe() == "300 ms"
    assert delay(mean="300 ms", jitter="80 ms").describe() == "300 ms ± 80 ms (normal)"
    asked = delay(percentiles={"p95": "400 ms", "p50": "80 ms"})
    assert asked.describe() == "p50 80 ms, p95 400 ms"
