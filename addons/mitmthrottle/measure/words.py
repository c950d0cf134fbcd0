"""Numbers and verdicts in words: the same in the terminal and in the report.

Rule: no more digits than were measured.
"""

from __future__ import annotations

from mitmthrottle.measure.findings import Verdict
from mitmthrottle.policy.language.units import format_rate

MECHANISMS = {
    "shaper": "by a shaper: the rate is held",
    "policer": "by a policer: what exceeds the rate is dropped, or waits until a bucket is full",
    "delay": "by a delay before the first byte",
}


def rate(bytes_per_s: float | None) -> str:
    """In bits per second to three figures.

    >>> rate(16_012.3), rate(None)
    ('128 kbit/s', '–')
    """
    if bytes_per_s is None:
        return "–"
    return format_rate(float(f"{bytes_per_s * 8:.3g}") / 8)


def seconds(time_s: float | None) -> str:
    """
    >>> seconds(0.01234), seconds(2.3456)
    ('12.3 ms', '2.35 s')
    """
    if time_s is None:
        return "–"
    return f"{time_s * 1000:.3g} ms" if abs(time_s) < 1 else f"{time_s:.3g} s"


def size(count: float) -> str:
    """
    >>> size(78_500)
    '78.5 kB'
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"


def verdict(found: Verdict) -> str:
    """The answer in three words."""
    if found.differentiated is None:
        return "cannot tell"
    return "differentiated" if found.differentiated else "not differentiated"


def statistic(found: Verdict) -> str:
    """The numbers behind it, as a sentence."""
    numbers = found.comparison
    if numbers is None:
        return "No throughput could be compared."
    return (
        f"Kolmogorov-Smirnov distance {numbers.statistic:.2f}, p = {numbers.p_value:.2g} by swaps "
        f"within pairs ({numbers.ks_p_value:.1g} if all samples were independent), area between "
        f"the distributions {numbers.area:.0%} of the larger mean, found again in "
        f"{numbers.agreement:.0%} of random halves."
    )


def caution(target_address: str, control_address: str, through_proxy: bool) -> str | None:
    """What a reader must know of the pair that was chosen."""
    if through_proxy or target_address == control_address:
        return None
    return (
        f"Target and control are at different addresses ({target_address}, {control_address}): a "
        "difference may be the servers' own, or that of the ways to them."
    )
