"""What the comparison found, in sentences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mitmthrottle.compare import words
from mitmthrottle.compare.figures import METRICS, Figure, Metric, Spread, figures

from .made import PAGE, comparison, run, slowed_run, usual, video

PAINT, REQUESTS = (
    next(metric for metric in METRICS if metric.key == key)
    for key in ("largest_contentful_paint_s", "requests")
)


@pytest.mark.parametrize(
    ("metric", "without", "with_", "said"),
    [
        (PAINT, (0.5, 0.6), (4.0, 4.1), "+3.50 s (×\u00a07.36)"),
        (PAINT, (4.0, 4.1), (0.5, 0.6), "−3.50 s"),
        (PAINT, (0.5, 0.6), (0.55, 0.8), "within the spread"),
        (PAINT, (0.5,), (4.0,), "+3.50 s (×\u00a08)"),
        (PAINT, (0.5, 0.5), (math.inf, math.inf), "only without"),
        (PAINT, (math.inf, math.inf), (0.5, 0.5), "only with"),
        (PAINT, (math.inf,), (math.inf,), "in neither"),
        (REQUESTS, (9.0, 9.0), (9.0, 9.0), "none"),
        (REQUESTS, (9.0, 9.0), (11.0, 11.0), "+2"),
    ],
)
def test_differences(
    metric: Metric, without: tuple[float, ...], with_: tuple[float, ...], said: str
) -> None:
    assert words.difference(Figure(metric, Spread(without), Spread(with_))) == said


def test_findings_of_a_page_whose_photos_come_late() -> None:
    assert words.findings(usual()) == [
        "The policy slows 1 of 2 requests.",
        "The largest thing on the page is painted 3.55 s later: after 4.10 s instead of 0.55 s.",
        "The first text or picture is painted after 0.30 s, as without the policy.",
    ]


def test_findings_about_videos() -> None:
    stalling = video(5.0, (7.0, 1.5), (9.0, 0.5))
    said = words.findings(
        comparison(
            [run(number=n, videos=(video(0.5),)) for n in (1, 2)],
            [slowed_run(n, videos=(stalling,)) for n in (1, 2)],
        )
    )
    assert said[-2:] == [
        "The first video plays 4.50 s later: after 5.00 s instead of 0.50 s.",
        "Videos stand still 2 times, 2.00 s in all; without the policy never.",
    ]


def test_nothing_is_slowed() -> None:
    said = words.findings(comparison([run()], [run("with")]))
    assert said[0].startswith("The policy slows nothing of this page: no rule matched.")


def test_a_page_that_is_blocked() -> None:
    blocked = slowed_run(
        failure="net::ERR_CONNECTION_RESET", paint_s=math.inf, requests=(), videos=()
    )
    said = words.findings(comparison([run()], [blocked]))
    assert said == ["With the policy the page does not open: net::ERR_CONNECTION_RESET."]
    once = words.findings(comparison([run(), run(number=2)], [blocked, slowed_run(2)]))
    assert once[-1] == (
        "In 1 of 2 runs with the policy the page did not open: net::ERR_CONNECTION_RESET."
    )


def test_a_difference_within_the_spread_is_not_called_one() -> None:
    paints = ((1.0, 1.5), (1.4, 1.7))
    said = words.findings(
        comparison(
            [run(number=n, paint_s=paint_s) for n, paint_s in enumerate(paints[0], 1)],
            [slowed_run(n, paint_s) for n, paint_s in enumerate(paints[1], 1)],
        )
    )
    assert said[1] == (
        "The largest thing on the page is painted after 1.55 s, without the policy after 1.25 s: "
        "no more than the spread."
    )


def test_one_run_each_is_not_called_later() -> None:
    said = words.findings(comparison([run(paint_s=0.5)], [slowed_run(paint_s=4.0)]))
    assert said[1] == (
        "The largest thing on the page is painted after 4.00 s, without the policy after 0.50 s, "
        "in one run each."
    )


def test_what_never_comes() -> None:
    never = slowed_run(paint_s=math.inf, load_s=math.inf)
    said = words.findings(comparison([run()], [never]))
    assert said[1] == (
        "The largest thing on the page is painted after 0.50 s; with the policy not within the "
        "61 s watched."
    )


def test_a_page_whose_time_was_up_before_its_largest_thing_came() -> None:
    """What was painted by then is another thing, and no measure of this one."""
    heading = slowed_run(paint_s=1.6, largest="h1", settled=False, watched_s=40.0)
    found = comparison([run(number=1), run(number=2)], [heading, replace(heading, number=2)])
    assert words.findings(found)[1] == (
        "The largest thing on the page is painted after 0.50 s; with the policy not within the "
        "40 s watched."
    )
    (paint,) = [each for each in figures(found) if each.metric.key == PAINT.key]
    assert words.difference(paint) == "only without"


def test_a_page_whose_time_was_up_after_its_largest_thing_came() -> None:
    playing = slowed_run(settled=False, watched_s=40.0, largest=f"{PAGE}photo.jpg?nonce=7")
    found = comparison([run(), run(number=2)], [playing, replace(playing, number=2)])
    assert "is painted 3.50 s later" in words.findings(found)[1]


def test_a_page_that_shows_another_largest_thing_is_not_compared_by_it() -> None:
    other = slowed_run(paint_s=1.6, largest="h1")
    found = comparison([run(), run(number=2)], [other, replace(other, number=2)])
    assert words.findings(found)[1] == (
        f"The largest thing on the page is h1 with the policy and {PAGE}photo.jpg without: when "
        "they are painted is not compared."
    )
    assert PAINT.key not in {each.metric.key for each in figures(found)}
