"""A machine that has been up for a hundred years paces as one that has just started."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from .clock_ahead import RATE_BYTES_PER_S, RESPONSES
from .figures import Figures

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
HUNDRED_YEARS_S = 100 * 31_557_600


def test_a_clock_a_hundred_years_ahead(figures: Figures) -> None:
    """In a time namespace, as containers have them that were moved from another machine."""
    offset = str(HUNDRED_YEARS_S)
    namespace = ["unshare", "--time", "--monotonic", offset, "--boottime", offset, "--fork"]
    program = [sys.executable, "-m", "tests.e2e.clock_ahead", "15"]
    done = subprocess.run(
        [*namespace, "--kill-child", *program],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["clock_s"] > HUNDRED_YEARS_S
    rates, took_s = seen["rates"], seen["took_s"]
    name = "clock 100 years ahead:"
    figures.add(f"{name} slowest (asked 16000)", min(rates), "B/s")
    figures.add(f"{name} fastest (asked 16000)", max(rates), "B/s")
    figures.add("clock 100 years ahead: another host, median", statistics.median(took_s), "s")
    figures.add(f"{name} another host, longest", max(took_s), "s")
    assert len(rates) == RESPONSES
    assert statistics.mean(rates) == pytest.approx(RATE_BYTES_PER_S, rel=0.03)
    assert min(rates) > 0.9 * RATE_BYTES_PER_S
    assert max(rates) < 1.1 * RATE_BYTES_PER_S
    assert statistics.median(took_s) < 0.5
