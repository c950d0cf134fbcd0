"""Which effects of a rule go together.

The one rule: a combination of which one part could never do anything is refused, with the
reason; every other combination composes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmthrottle.policy.then import Then

EFFECTS = ("rate", "delay", "stall", "cut", "block", "requests", "quota", "stages", "trace",
           "upload", "like")  # fmt: skip


def refuse_conflicts(then: Then) -> None:
    """ValueError for effects that cannot go together, before any preset is filled in."""
    for reason in _reasons(then):
        raise ValueError(reason)


def _reasons(then: Then) -> Iterator[str]:
    given = [name for name in EFFECTS if getattr(then, name)]
    rated = bool(then.rate or then.like or then.trace or any(stage.rate for stage in then.stages))
    if then.pass_:
        others = given + [
            key
            for key, field in (("burst", "burst"), ("as", "as_"), ("from", "from_"))
            if field in then.model_fields_set
        ]
        if others:
            yield (
                f"`pass` leaves the response alone, but `{others[0]}` is given too: "
                "keep one of them"
            )
        return
    if then.burst is not None and not rated:
        yield "`burst` goes with a `rate`: add `rate: 128 kbit/s`, or leave it out"
    if "as_" in then.model_fields_set and not rated:
        yield f"`as: {then.as_}` says how a `rate` is held: add `rate: 128 kbit/s`, or leave it out"
    if then.stages and then.trace:
        yield "`trace` is a recording of stages, but `stages` is given too: keep one of them"
    if "from_" in then.model_fields_set and not (then.stages or then.trace):
        yield (
            f"`from: {then.from_}` says when `stages` or a `trace` begin: add one, or leave it out"
        )
    if not given:
        yield "has no effect: add `rate`, `delay`, `block`, or `pass: true`"
    if given == ["quota"]:
        yield (
            "`quota` says when the rule's other effects begin, and there are none: "
            "add `rate: 128 kbit/s`"
        )
    if then.block is not None:
        yield from _with_block(then)


def _with_block(then: Then) -> Iterator[str]:
    if then.trace or (then.stages and then.stages[-1].for_s is None):
        last = "a `trace` begins anew" if then.trace else "the last stage has no `for`"
        yield f"`block` would come after the stages, but {last}: remove one of them"
    for name, says in (
        ("rate", "slow"),
        ("like", "slow"),
        ("stall", "hold up"),
        ("cut", "end early"),
    ):
        # with stages, what the rule itself says of its body holds in those that do not block
        if getattr(then, name) and not then.stages:
            yield f"`block` sends no body that a `{name}` could {says}: keep one of them"
    if then.requests:
        yield (
            "`requests` would make a response wait for its turn only to be blocked: "
            "keep one of the two"
        )
