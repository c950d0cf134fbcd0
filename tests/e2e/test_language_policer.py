"""A policer against a shaper at the same mean, 128 kbit/s for 12 s: windows of 100 ms tell them
apart, the mean does not. What is measured and how is the bench's (bench/policer.py).
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import policer
from bench.record import Record

from .figures import Figures

SECONDS = 12.0


@pytest.mark.e2e
@pytest.mark.alone
def test_a_policer_is_told_from_a_shaper_by_its_windows(figures: Figures, artifacts: Path) -> None:
    records = policer.measure(SECONDS)
    assert {*records} == {"shaper h1", "shaper h2", "policer h1", "policer h2"}
    shapes = {job: policer.shape(record, SECONDS) for job, record in records.items()}
    for job, found in shapes.items():
        figures.add(f"{job} at 128 kbit/s: error of the mean", 100 * found.mean_error, "%")
        figures.add(f"{job} at 128 kbit/s: empty windows of 100 ms", 100 * found.empty, "%")
        figures.add(f"{job} at 128 kbit/s: variation of windows", found.variation)
        if found.bursts:
            figures.add(f"{job} at 128 kbit/s:", f"{found.bursts} bursts", "")
            figures.add(f"{job} at 128 kbit/s: mean burst", found.burst_bytes, "B")
    for job, found in shapes.items():
        assert abs(found.mean_error) < 0.01
        if job.startswith("shaper"):
            assert found.bursts == 0
            assert found.empty < 0.02
            assert found.variation < 0.3
        else:
            assert 2 * SECONDS - 2 <= found.bursts <= 2 * SECONDS + 4
            assert found.burst_bytes == pytest.approx(8_000, rel=0.05)
            assert 0.7 < found.empty < 0.82
            assert 1.7 < found.variation < 2.2

    kept = {
        "rate_bytes_per_s": policer.RATE_BYTES_PER_S,
        "rows": policer.rows_of(records, SECONDS),
        "curves": policer.curves_of(records),
    }
    drawn = artifacts / "policer.svg"
    drawn.write_text(policer.plot(kept))
    bars = ElementTree.parse(drawn).getroot().findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 1 + 2 * 60  # the paper, and two times six seconds of windows


def made_up(arrivals: list[list[float]]) -> Record:
    return Record("made up", 0, 0.0, arrivals=arrivals)


def test_the_figures_of_a_made_up_shaper() -> None:
    found = policer.shape(made_up([[5 + n / 20, 800] for n in range(201)]), 10.0)
    assert found.bursts == 0
    assert found.empty == 0
    assert found.variation == pytest.approx(0)
    assert found.mean_error == pytest.approx(0)


def test_the_figures_of_a_made_up_policer() -> None:
    """Bursts of 8,000 bytes in two pieces each half second; the first is twice as large, and does
    not count."""
    bursts = [[5 + n / 2 + late, 4_000] for n in range(21) for late in (0.0, 0.001)]
    bursts[0][1] = 12_000
    found = policer.shape(made_up(bursts), 10.0)
    assert found.bursts == 21
    assert found.burst_bytes == 8_000
    assert found.empty == pytest.approx(0.8, abs=0.01)
    assert found.variation == pytest.approx(2.0, abs=0.03)
    assert found.mean_error == pytest.approx(0)


def test_a_mean_that_is_off_is_seen() -> None:
    found = policer.shape(made_up([[5 + n / 20, 824] for n in range(201)]), 10.0)
    assert found.mean_error == pytest.approx(0.03)
