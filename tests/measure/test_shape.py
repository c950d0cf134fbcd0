from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.measure.shape import mechanism_of, shape_of

from .transfers import flat, saw_tooth, transfer


@given(st.floats(2_000, 5e7), st.floats(1.5, 20.0))
def test_a_rate_that_is_held_is_a_shaper(rate_bytes_per_s: float, seconds: float) -> None:
    shape = shape_of(transfer(flat(rate_bytes_per_s, seconds)))
    assert shape.mechanism == "shaper"
    assert shape.steady_bytes_per_s == pytest.approx(rate_bytes_per_s, rel=0.06)


@given(st.floats(50_000, 5e7), st.floats(0.3, 0.85))
def test_bursts_with_silence_between_are_a_policer(rate: float, period_s: float) -> None:
    shape = shape_of(transfer(saw_tooth(rate, period_s)))
    assert (shape.kind, shape.mechanism) == ("steps", "policer")
    assert shape.steady_bytes_per_s == pytest.approx(rate, rel=0.02)
    assert shape.period_s == pytest.approx(period_s, rel=0.01)


@pytest.mark.parametrize(("rate", "period_s"), [(500_000, 1.0), (16_000, 1.0), (16_000, 1.05)])
def test_steps_of_a_second_without_losses_may_be_either(rate: float, period_s: float) -> None:
    """nginx's `limit_rate` and a policer that spends its bucket at once look the same."""
    shape = shape_of(transfer(saw_tooth(rate, period_s, 6.0)))
    assert (shape.kind, shape.mechanism) == ("steps", None)
    assert "a sender that limits itself by a timer, or a policer" in shape.words


def test_a_burst_at_the_beginning_is_told_from_the_rate() -> None:
    shape = shape_of(transfer([(0.0, 200_000.0), *flat(100_000, 4.0)]))
    assert shape.steady_bytes_per_s == pytest.approx(100_000, rel=0.05)
    assert shape.burst_bytes == pytest.approx(200_000, rel=0.1)


def test_what_is_over_at_once_has_no_shape() -> None:
    shape = shape_of(transfer(flat(100_000, 0.5)))
    assert (shape.kind, shape.mechanism) == ("short", None)


def test_uneven_is_no_mechanism() -> None:
    arrivals = [(n * 0.05, 5_000.0 * (10 if n % 37 < 9 else 0.5)) for n in range(120)]
    assert shape_of(transfer(arrivals)).mechanism is None


def test_two_thirds_must_agree() -> None:
    held = [shape_of(transfer(flat(100_000)))] * 5
    teeth = [shape_of(transfer(saw_tooth(100_000, 0.5)))] * 5
    assert mechanism_of(held + teeth[:2]) == "shaper"
    assert mechanism_of(held + teeth) is None
