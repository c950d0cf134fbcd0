"""Medians, spreads, differences: what the runs say together."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.compare.facts import Slowed
from mitmthrottle.compare.figures import (
    METRICS,
    Figure,
    Spread,
    counterpart,
    figures,
    rule_figures,
    typical,
)

from .made import SLOWED, comparison, request, run, slowed_run, usual, video

PAINT = next(metric for metric in METRICS if metric.key == "largest_contentful_paint_s")


def figure(without: tuple[float, ...], with_: tuple[float, ...]) -> Figure:
    return Figure(PAINT, Spread(without), Spread(with_))


def test_the_table_has_medians_and_what_lies_between() -> None:
    paint = next(each for each in figures(usual()) if each.metric is PAINT)
    assert paint.without.median == 0.55
    assert (paint.with_.low, paint.with_.median, paint.with_.high) == (4.0, 4.1, 4.2)
    assert paint.difference == pytest.approx(3.55)
    assert paint.factor == pytest.approx(4.1 / 0.55)
    assert paint.clear is True


def test_without_videos_there_are_no_lines_about_them() -> None:
    keys = {each.metric.key for each in figures(usual())}
    assert not keys & {"video_start_s", "stalls", "stalled_s"}
    with_videos = comparison(
        [run(videos=(video(0.8), video(0.5)))],
        [slowed_run(videos=(video(5.0, (7.0, 1.5), (9.0, 0.5)), video(6.0)))],
    )
    found = {each.metric.key: each for each in figures(with_videos)}
    assert (found["video_start_s"].without.median, found["video_start_s"].with_.median) == (0.5, 5)
    assert found["stalls"].with_.median == 2
    assert found["stalled_s"].with_.median == 2.0


@pytest.mark.parametrize(
    ("without", "with_", "clear"),
    [
        ((1.0, 1.1), (3.0, 3.2), True),
        ((3.0, 3.2), (1.0, 1.1), True),
        ((1.0, 1.1, 1.4), (1.3, 2.0, 2.0), False),  # they overlap
        ((1.0, 1.5), (1.6, 2.0), False),  # they do not, but runs of a kind differ by more
        ((1.0,), (9.0,), None),  # who knows
        ((2.0, 2.0), (2.0, 2.0), False),
        ((1.0, 1.1), (math.inf, math.inf), True),
        ((1.0, 1.1), (math.inf, 1.2), False),
    ],
)
def test_a_difference_has_to_be_wider_than_the_spread(
    without: tuple[float, ...], with_: tuple[float, ...], clear: bool | None
) -> None:
    assert figure(without, with_).clear is clear


@pytest.mark.parametrize("law", ["gauss", "lognormal"])
def test_runs_of_the_same_are_seldom_called_different(law: str) -> None:
    dice = random.Random(7)

    def draw() -> tuple[float, ...]:
        one = dice.gauss if law == "gauss" else dice.lognormvariate
        return tuple(one(0.0, 1.0) for _ in range(3))

    wrong = sum(figure(draw(), draw()).clear is True for _ in range(5000))
    assert wrong < 5000 * (0.01 if law == "gauss" else 0.03)


def test_what_does_not_happen_is_no_number() -> None:
    never, ever = (math.inf, math.inf), (1.0, 1.1)
    assert figure(ever, never).difference == math.inf
    assert figure(never, ever).difference == -math.inf
    assert figure(never, never).difference is None
    assert figure(ever, never).factor is None
    assert Spread((1.0, math.inf, 2.0)).median == 2.0
    assert Spread((1.0, math.inf, 2.0)).missed == 1


@given(st.lists(st.floats(0, 100) | st.just(math.inf), min_size=1, max_size=7))
def test_the_typical_run_is_one_of_them_and_no_other_is_nearer(paints: list[float]) -> None:
    runs = [run(number=n, paint_s=paint_s) for n, paint_s in enumerate(paints, 1)]
    chosen = typical(runs)
    assert chosen in runs
    if len(paints) % 2:
        assert chosen.largest_contentful_paint_s == sorted(paints)[len(paints) // 2]


def test_rules_in_the_order_of_the_policy() -> None:
    early = Slowed("videos", 8, None, None, 10, 0.5, "blocked")
    late = Slowed("photos on every phone", 12, 16_000.0, None, 20, 9.0, "client-gone")
    of = rule_figures(comparison([run()], [slowed_run(record=(SLOWED, late, early))]))
    assert [(each.rule, each.responses, each.bytes) for each in of] == [
        ("videos", 1, 10),
        ("photos on every phone", 2, 58_167),
    ]
    assert (of[0].asked_bytes_per_s, of[0].measured_bytes_per_s) == (None, None)
    assert (of[1].asked_bytes_per_s, of[1].measured_bytes_per_s) == (16_000.0, 15_990.0)
    assert of[1].waited_s == 9.0


def test_the_second_of_two_like_requests_has_the_second_beside_it() -> None:
    others = [request("a"), request("b"), request("a")]
    assert counterpart(request("a"), others, set()) == 0
    assert counterpart(request("a"), others, {0}) == 2
    assert counterpart(request("a", method="POST"), others, set()) is None
