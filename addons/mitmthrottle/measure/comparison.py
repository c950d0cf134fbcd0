"""Do target and control differ, and by how much: the numbers of a comparison in pairs.

Rule: pure; everything random derives from the seed. Needs NumPy and SciPy, the `measure` extra.

Theory of operation. As Wehe does (Li et al., SIGCOMM 2019), each transfer gives throughput samples,
those of equal parts of its time; a two-sample Kolmogorov-Smirnov test tells whether target's and
control's come from one distribution, and the area between the two cumulated distributions tells
whether the difference is worth a word. Two things are done otherwise.

- Samples of one transfer are no independent draws: a transfer that met a busy network is slow in
  all of its parts. The usual p-value takes them as independent and finds differences where there
  are none. So here the distance is compared with those that come out when target and control are
  swapped within randomly chosen pairs: if nobody tells the two apart, each such swap was as likely
  as what was measured. The p-value is the share of swaps with a distance at least as large.
- Wehe repeats its test on random halves, to be safe from a few transfers that decide all. Here it
  is halves of the pairs: `agreement` is the share of them that finds the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from mitmthrottle.measure.findings import Comparison
from mitmthrottle.measure.interval import interval

Floats = npt.NDArray[np.float64]

SWAPS = 4000
HALVES = 100
HALF_P_VALUE = 0.05  # Wehe's, within a half
AREA = 0.1
"""Wehe's: the least area between the distributions that counts, as a part of the larger mean"""


def compare(
    target: Sequence[Sequence[float]], control: Sequence[Sequence[float]], seed: str
) -> Comparison:
    """Compare throughput samples: `target[n]` and `control[n]` are those of pair n.

    Raises ValueError for less than two pairs, or if not all have equally many samples.
    """
    ours, theirs = (np.asarray(side, dtype=np.float64) for side in (target, control))
    if ours.ndim != 2 or ours.shape != theirs.shape or len(ours) < 2 or ours.shape[1] < 1:
        raise ValueError("pairs with equally many samples are needed, two at least")
    random = np.random.default_rng([*seed.encode()] or [0])
    usual = stats.ks_2samp(ours.ravel(), theirs.ravel(), method="asymp")
    ratios = ours.mean(axis=1) / np.maximum(theirs.mean(axis=1), 1e-9)
    return Comparison(
        statistic=float(usual.statistic),
        p_value=_by_swaps(ours, theirs, random),
        ks_p_value=float(usual.pvalue),
        area=area(ours.ravel(), theirs.ravel()),
        agreement=_agreement(ours, theirs, random),
        ratio=interval(ratios.tolist()),
    )


def compare_single(target: Sequence[float], control: Sequence[float], seed: str) -> Comparison:
    """The same for one number a transfer, such as the time to the first byte."""
    return compare([[each] for each in target], [[each] for each in control], seed)


def area(one: Floats, other: Floats) -> float:
    """Between the two cumulated distributions, as a part of the larger mean: 0 equal, 1 all.

    >>> area(np.array([1.0, 1.0]), np.array([2.0, 2.0]))
    0.5
    """
    larger = max(float(one.mean()), float(other.mean()))
    return float(stats.wasserstein_distance(one, other)) / larger if larger > 0 else 0.0


def _by_swaps(ours: Floats, theirs: Floats, random: np.random.Generator) -> float:
    pairs, samples = ours.shape
    values = np.concatenate([ours.ravel(), theirs.ravel()])
    signs = np.repeat([1.0, -1.0], pairs * samples)
    pair = np.tile(np.repeat(np.arange(pairs), samples), 2)
    order = np.argsort(values, kind="stable")
    values, signs, pair = values[order], signs[order], pair[order]
    ends = np.append(values[1:] != values[:-1], True)  # equal values count together

    def distances(flips: Floats) -> Floats:
        walk = np.cumsum(flips[:, pair] * signs, axis=1)[:, ends]
        found: Floats = np.abs(walk).max(axis=1) / (pairs * samples)
        return found

    measured = distances(np.ones((1, pairs)))[0]
    reached = 0
    for _ in range(0, SWAPS, 500):  # in parts, so that it takes little memory
        flips = random.choice(np.array([-1.0, 1.0]), size=(500, pairs))
        reached += int((distances(flips) >= measured - 1e-9).sum())
    return (1 + reached) / (1 + SWAPS)


def _agreement(ours: Floats, theirs: Floats, random: np.random.Generator) -> float:
    pairs = len(ours)
    slower = ours.mean() < theirs.mean()

    def differs(one: Floats, other: Floats) -> bool:
        return bool(
            (one.mean() < other.mean()) == slower
            and area(one, other) > AREA
            and stats.ks_2samp(one, other, method="asymp").pvalue < HALF_P_VALUE
        )

    found = 0
    for _ in range(HALVES):
        chosen = random.choice(pairs, size=max(2, pairs // 2), replace=False)
        found += differs(ours[chosen].ravel(), theirs[chosen].ravel())
    return found / HALVES
