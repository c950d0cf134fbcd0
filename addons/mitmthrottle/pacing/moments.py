"""Moments of a clock whose steps may be coarser than what is added to them.

Rule: what is to happen later happens later.  From 2^53 seconds on, and for anything short well
before, `now + 0.07 == now` as floats count, and whoever waits for that would never wait at all.
"""

from __future__ import annotations

import math


def later(now: float, seconds: float) -> float:
    """So many seconds after `now`, and after it in any case, be it by the clock's next step."""
    return max(now + seconds, math.nextafter(now, math.inf))


def reached_at(since: float, missing: float, per_s: float) -> float:
    """The first moment at which `missing` has come at `per_s`, counted from `since`.

    Rounded up to what the clock can show: (the result - since) x per_s is never less.
    """
    if missing <= 0:
        return since
    when = since + missing / per_s
    return when if (when - since) * per_s >= missing else math.nextafter(when, math.inf)
