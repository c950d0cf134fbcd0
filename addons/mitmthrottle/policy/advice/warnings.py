"""What is doubtful about a policy that can be used: the warnings of `check`.

The one rule: no false alarms. A warning is given only for what surely does not do what its author
wants, or surely does more; each says what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mitmthrottle.policy.advice.substring_hosts import host_doubt
from mitmthrottle.policy.detect.content import KINDS, REGISTERED_AS, kind_of_type
from mitmthrottle.policy.effects.rate import RateLimit
from mitmthrottle.policy.language.hosts import HostPattern
from mitmthrottle.policy.language.units import format_duration, format_rate, format_size
from mitmthrottle.policy.language.yamltree import Node, Step
from mitmthrottle.policy.schema import Policy, Rule
from mitmthrottle.policy.then import Then

LOWEST_LIVELY_BYTES_PER_S = 125.0  # 1 kbit/s: 30 s, a common time-out, bring less than 4 kB
LONGEST_BURST_S = 10.0
SHORTEST_BURST_S = 0.005  # no pacing comes back as often as that

type Doubt = tuple[Node, str]


def doubts(policy: Policy, root: Node, now: float | None) -> Iterator[Doubt]:
    """(where, message) of each; `root` is the file's tree, `now` in Unix seconds, if known."""
    for name, patterns in policy.hosts.items():
        yield from _host_doubts(root, ("hosts", name), patterns)
    for index, rule in enumerate(policy.rules):
        path = ("rules", index)
        yield from _of_conditions(rule, root, path, now)
        yield from _of_effects(rule.then, root, (*path, "then"))


def _host_doubts(root: Node, path: tuple[Step, ...], patterns: Sequence[object]) -> Iterator[Doubt]:
    for index, pattern in enumerate(patterns):
        said = host_doubt(pattern) if isinstance(pattern, HostPattern) else None
        if said:
            yield root.find((*path, index)), said


def _of_conditions(
    rule: Rule, root: Node, path: tuple[Step, ...], now: float | None
) -> Iterator[Doubt]:
    when, at = rule.when, (*path, "when")
    yield from _host_doubts(root, (*at, "host"), when.host or ())
    for index, content in enumerate(when.content or ()):
        right = REGISTERED_AS.get(content)
        if right and right not in (when.content or ()):
            also = f", or `{kind}`" if (kind := kind_of_type(right)) in KINDS else ""
            yield (
                root.find((*at, "content", index)),
                f"`{content}` is no registered type, and never matches `{right}`, which is what "
                f"servers send: write `{right}`{also}",
            )
    if when.share is not None and when.share.fraction == 0:
        yield (
            root.find((*at, "share")),
            "a share of 0% is nobody, so this rule never matches: remove it, or give it a share",
        )
    if when.share is not None and when.share.fraction == 1:
        yield root.find((*at, "share")), "a share of 100% is everybody: leave `share` out"
    if when.active is not None and now is not None and all(a.over(now) for a in when.active):
        yield (
            root.find((*at, "active")),
            "this is over, so the rule never matches: remove it, or count from the policy's "
            "start as in `{after: 60 s, for: 5 min}`",
        )
    if when.status is not None and rule.then.upload is not None:
        only = not any(
            getattr(rule.then, name)
            for name in ("rate", "delay", "stall", "cut", "block", "requests", "stages")
        )
        yield (
            root.find((*path, "then", "like" if rule.then.like else "upload"), key=True),
            "an upload is sent before there is a `status`, so this one is never paced: "
            + ("leave out `status`" if only else "put `upload` in a rule without `status`"),
        )


def _of_effects(then: Then, root: Node, path: tuple[Step, ...]) -> Iterator[Doubt]:
    yield from _of_rate(then, root, path, after_quota=then.quota is not None)
    if then.upload is not None:
        yield from _of_rate(then.upload, root, (*path, "upload"))
    for index, stage in enumerate(then.stages if then.trace is None else ()):
        yield from _of_rate(stage, root, (*path, "stages", index))
    if then.stall and then.cut and then.cut.after_bytes <= then.stall.after_bytes:
        yield (
            root.find((*path, "stall"), key=True),
            f"the body is cut after {format_size(then.cut.after_bytes)}, before it could "
            "stall: stall earlier, or cut later",
        )


def _of_rate(
    part: Any, root: Node, path: tuple[Step, ...], after_quota: bool = False
) -> Iterator[Doubt]:
    """Of a rate and its burst, wherever they stand."""
    limits: tuple[RateLimit, ...] = part.rate
    if "rate" in (root.find(path).keys or ()):
        for index, limit in enumerate(limits):
            if limit.limit_bytes_per_s < LOWEST_LIVELY_BYTES_PER_S:
                yield (
                    root.find((*path, "rate", index)),
                    f"{format_rate(limit.limit_bytes_per_s)} is too slow for a connection to "
                    "stay alive, clients time out: use `1 kbit/s` or more"
                    # behind a quota a block spares what has begun, and this freezes it
                    + ("" if after_quota else ", or `block: timeout`"),
                )
    burst = root.find((*path, "burst"))
    if not limits or part.burst is None or "burst" not in (root.find(path).keys or ()):
        return
    lowest = min(limit.limit_bytes_per_s for limit in limits)
    highest = max(limit.limit_bytes_per_s for limit in limits)
    if part.burst > LONGEST_BURST_S * lowest:
        yield (
            burst,
            f"{format_size(part.burst)} is {_seconds(part.burst / lowest)} of "
            f"`{format_rate(lowest)}`, and passes at full speed after each pause: "
            f"`{format_size(round(lowest))}` is one second of it",
        )
    elif part.burst < SHORTEST_BURST_S * highest:
        yield (
            burst,
            f"{format_size(part.burst)} is {_seconds(part.burst / highest)} of "
            f"`{format_rate(highest)}`, too little to reach that rate: "
            + (
                f"`{format_size(round(highest / 2))}` is a policer's default, 500 ms of it"
                if getattr(part, "as_", "shaper") == "policer"
                else f"`{format_size(round(highest / 10))}` is the default, 100 ms of it"
            ),
        )


def _seconds(length_s: float) -> str:
    return format_duration(float(f"{length_s:.2g}"))
