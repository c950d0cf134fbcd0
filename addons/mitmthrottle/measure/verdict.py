"""Is the target treated otherwise than the control? Yes, no, or it cannot be told, and why.

Rule: yes only where every test agrees, no only where the two are shown to be alike; all else is
"cannot tell" with its reason. Pure: transfers and a seed in, a verdict out.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mitmthrottle.measure.comparison import AREA, compare, compare_single
from mitmthrottle.measure.findings import Comparison, Pair, Verdict, samples
from mitmthrottle.measure.interval import Interval, interval, sign_p_value
from mitmthrottle.measure.shape import BY_TIMER, Mechanism, Shape, mechanism_of, shape_of
from mitmthrottle.measure.transfer import Transfer

PAIRS_AT_LEAST = 8
"""With fewer, no swap of pairs is rare enough to be a proof."""
P_VALUE = 0.01
AGREEMENT = 0.95
SPAN_AT_LEAST_BYTES = 16_000
"""What is shorter may come with TCP's first packets, whatever limits the rate."""
WORTH = 1.1
"""A smaller factor between the rates is no differentiation, however sure."""
ALIKE = 1.25
"""Alike is what surely lies within this factor."""
DELAY_S, DELAY_SHARE = 0.02, 0.25
"""A later first byte is a delay if it surely is later by both: 20 ms, and a quarter."""
_HELD_SPREAD = 0.25


def judge(pairs: Sequence[Pair], seed: str) -> Verdict:
    """The verdict on what was measured."""
    usable = [
        (pair.target, pair.control)
        for pair in pairs
        if _whole(pair.target) and _whole(pair.control)
        if isinstance(pair.target, Transfer) and isinstance(pair.control, Transfer)
    ]
    failed = [(not _whole(pair.target), not _whole(pair.control)) for pair in pairs]
    only_target, only_control = failed.count((True, False)), failed.count((False, True))
    found = _Found(
        pairs=len(usable),
        target_failures=sum(target for target, _ in failed),
        control_failures=sum(control for _, control in failed),
    )
    if only_target > only_control and sign_p_value(only_target, only_control) < P_VALUE:
        why = (
            f"{found.target_failures} of {len(pairs)} transfers of the target broke off or failed, "
            f"{found.control_failures} of the control's"
        )
        return found.verdict(True, why, slower="target")
    if len(usable) < PAIRS_AT_LEAST:
        why = f"only {_counted(len(usable), 'pair')} could be used; it takes {PAIRS_AT_LEAST}"
        return found.verdict(None, f"{why}: give more --pairs")
    return _compared(usable, found, seed)


def span_of(usable: Sequence[tuple[Transfer, Transfer]]) -> float:
    """The bytes that are compared: what the shorter of the two has in the median."""
    return min(
        statistics.median(target.size for target, _ in usable),
        statistics.median(control.size for _, control in usable),
    )


def _whole(one: Transfer | str) -> bool:
    return isinstance(one, Transfer) and one.ended not in {"truncated", "stopped"}


@dataclass(slots=True)
class _Found:
    """What is known so far."""

    pairs: int
    target_failures: int
    control_failures: int
    span_bytes: float = 0.0
    comparison: Comparison | None = None
    target_shapes: tuple[Shape, ...] = ()
    control_shapes: tuple[Shape, ...] = ()
    target_first_byte_s: float | None = None
    control_first_byte_s: float | None = None
    delay: Interval | None = None
    delay_p_value: float | None = None

    def verdict(
        self,
        differentiated: bool | None,
        reason: str,
        *,
        mechanism: Mechanism | None = None,
        slower: Literal["target", "control"] | None = None,
    ) -> Verdict:
        return Verdict(
            differentiated=differentiated,
            reason=reason,
            mechanism=mechanism,
            slower=slower,
            pairs=self.pairs,
            target_failures=self.target_failures,
            control_failures=self.control_failures,
            span_bytes=self.span_bytes,
            comparison=self.comparison,
            target_bytes_per_s=_rate(self.target_shapes),
            control_bytes_per_s=_rate(self.control_shapes),
            target_first_byte_s=self.target_first_byte_s,
            control_first_byte_s=self.control_first_byte_s,
            delay=self.delay,
            delay_p_value=self.delay_p_value,
            target_shapes=self.target_shapes,
            control_shapes=self.control_shapes,
        )


def _compared(usable: Sequence[tuple[Transfer, Transfer]], found: _Found, seed: str) -> Verdict:
    targets, controls = [pair[0] for pair in usable], [pair[1] for pair in usable]
    found.target_shapes = tuple(shape_of(each) for each in targets)
    found.control_shapes = tuple(shape_of(each) for each in controls)
    delayed = _delayed(targets, controls, found, seed)
    found.span_bytes = span = span_of(usable)
    if span >= SPAN_AT_LEAST_BYTES:
        found.comparison = compare(
            [samples(each, span) for each in targets],
            [samples(each, span) for each in controls],
            seed,
        )
    comparison = found.comparison
    if comparison is not None and _differs(comparison):
        slowdown = 1 / comparison.ratio.median
        if slowdown > 1:
            mechanism = _mechanism(found.target_shapes)
            why = f"the target is slower by a factor of {slowdown:.3g}"
            if mechanism is None:
                timed = sum(shape.by_timer for shape in found.target_shapes)
                if timed * 3 >= len(found.target_shapes) * 2:
                    why += f", in steps of a second: by {BY_TIMER}"
                else:
                    why += ", but what does it shows no clear shape"
            return found.verdict(True, why, mechanism=mechanism, slower="target")
        if not delayed:
            why = f"it is the control that is slower, by a factor of {1 / slowdown:.3g}"
            return found.verdict(True, f"{why}: are the two swapped?", slower="control")
    if delayed and found.delay is not None:
        why = (
            f"the target's first byte comes {found.delay.median * 1000:.0f} ms later; after it the "
            "target is not slower"
        )
        return found.verdict(True, why, mechanism="delay", slower="target")
    if comparison is None:
        why = (
            f"only {span:.0f} bytes could be compared, and it takes {SPAN_AT_LEAST_BYTES}: give a "
            "larger body, more --bytes or more --seconds"
        )
        return found.verdict(None, why)
    return _not_differing(comparison, found)


def _not_differing(comparison: Comparison, found: _Found) -> Verdict:
    ratio = comparison.ratio
    alike = ratio.low >= 1 / ALIKE and ratio.high <= ALIKE
    apart = (
        comparison.p_value < P_VALUE
        and comparison.area > AREA
        and comparison.agreement >= AGREEMENT
    )
    if alike and apart:
        why = (
            "the means are alike, but the bytes do not come alike: different servers, or a rate "
            "above what the way bears; compare the plots, and try a control on the same server"
        )
        return found.verdict(None, why)
    if alike:
        why = (
            f"the target has {ratio.low:.0%} to {ratio.high:.0%} of the control's rate, and its "
            "first byte is as early"
        )
        return found.verdict(False, why)
    why = (
        f"too noisy: the target has between {ratio.low:.0%} and {ratio.high:.0%} of the control's "
        "rate; give more --pairs or larger bodies, or measure when the network is quiet"
    )
    return found.verdict(None, why)


def _differs(comparison: Comparison) -> bool:
    ratio = comparison.ratio
    return (
        comparison.p_value < P_VALUE
        and comparison.area > AREA
        and comparison.agreement >= AGREEMENT
        and (ratio.high < 1 / WORTH or ratio.low > WORTH)
    )


def _delayed(
    targets: Sequence[Transfer], controls: Sequence[Transfer], found: _Found, seed: str
) -> bool:
    """Whether the target's first byte is surely later than distance explains."""
    found.target_first_byte_s = statistics.median(each.first_byte_s for each in targets)
    found.control_first_byte_s = statistics.median(each.first_byte_s for each in controls)
    pairs = list(zip(targets, controls, strict=True))
    found.delay = interval([one.first_byte_s - other.first_byte_s for one, other in pairs])
    # A farther server answers later by as much as it takes longer to connect to.
    farther = [max(0.0, one.connect_s - other.connect_s) for one, other in pairs]
    waits = [one.first_byte_s - more for one, more in zip(targets, farther, strict=True)]
    others = [each.first_byte_s for each in controls]
    own = interval([one - other for one, other in zip(waits, others, strict=True)])
    found.delay_p_value = compare_single(waits, others, seed).p_value
    least = max(DELAY_S, DELAY_SHARE * found.control_first_byte_s)
    return found.delay_p_value < P_VALUE and own.low > least


def _mechanism(shapes: Sequence[Shape]) -> Mechanism | None:
    """A mechanism holds a rate: one that differs from transfer to transfer is a network's."""
    rates = sorted(shape.steady_bytes_per_s for shape in shapes)
    count = len(rates)
    spread = (rates[(3 * count) // 4] - rates[count // 4]) / statistics.median(rates)
    return mechanism_of(shapes) if spread <= _HELD_SPREAD else None


def _rate(shapes: Sequence[Shape]) -> float | None:
    return statistics.median(shape.steady_bytes_per_s for shape in shapes) if shapes else None


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
