"""Is what was measured what the policy asked, and is what it asked what was promised?

Rule: pure arithmetic over what a client measured and what the policy's own `Decider` says
of the same facts. Every fault is a sentence that names the visit and the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mitmthrottle.lab.client import Fetched
from mitmthrottle.lab.visits import Visit
from mitmthrottle.policy import Decider, Exchange
from mitmthrottle.policy.language.units import format_rate

TOLERANCE = 0.05
"""How far a slowed response's rate may be from the rate asked for, as a part of it."""

FREE_FACTOR = 5
"""How many times as fast as the slowed ones a response must be to count as left alone. It
is hundreds of times on an idle machine; this much should hold on a busy one too."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the demo's table. Rates in bytes per second."""

    visit: Visit
    fetched: Fetched
    rule: str | None
    asked_bytes_per_s: float | None
    """None: the policy leaves this response alone"""


def outcome(decider: Decider, visit: Visit, fetched: Fetched) -> Outcome:
    """Ask the policy about the response that was fetched."""
    length = fetched.headers.get("content-length")
    decision = decider.decide(
        Exchange(
            host=visit.host,
            path=visit.path,
            status=fetched.status,
            request_headers={"user-agent": visit.visitor.user_agent},
            content_type=fetched.headers.get("content-type"),
            size=int(length) if length else None,
            client_address=visit.visitor.address,
        )
    )
    rule = decision.rule
    limits = [limit.limit_bytes_per_s for limit in rule.then.rate] if rule else []
    return Outcome(visit, fetched, rule.name if rule else None, min(limits, default=None))


def faults(outcomes: Sequence[Outcome]) -> list[str]:
    """What is not as it should be; empty if all is well."""
    asked = [line.asked_bytes_per_s for line in outcomes if line.asked_bytes_per_s is not None]
    free_from = FREE_FACTOR * max(asked, default=0.0)
    found = [fault for line in outcomes for fault in _faults_of(line, free_from)]
    return found + _faults_of_share(outcomes)


def rounded(rate_bytes_per_s: float) -> str:
    """In bits per second to four figures: more would pretend to a precision that is not there.

    >>> rounded(60_248.5)
    '482 kbit/s'
    """
    return format_rate(float(f"{rate_bytes_per_s * 8:.4g}") / 8)


def _faults_of(line: Outcome, free_from_bytes_per_s: float) -> list[str]:
    visit, fetched = line.visit, line.fetched
    where = f"{visit.visitor.name}, {visit.kind} of {visit.host}"
    measured = fetched.rate_bytes_per_s
    if fetched.status != 200:
        return [f"{where}: status {fetched.status} instead of 200"]
    declared = fetched.headers.get("content-length")
    if declared != str(fetched.size):
        return [f"{where}: {fetched.size} bytes came of {declared}"]
    found = []
    if visit.promise == "slowed" and line.asked_bytes_per_s is None:
        found.append(f"{where}: should be slowed, but no rule of the policy slows it")
    if visit.promise == "free" and line.asked_bytes_per_s is not None:
        found.append(f"{where}: should be left alone, but `{line.rule}` slows it")
    if line.asked_bytes_per_s is None:
        if measured < free_from_bytes_per_s:
            found.append(
                f"{where}: nothing slows it, yet it came at {rounded(measured)}, less than "
                f"{FREE_FACTOR} times the rate of the slowed ones"
            )
    elif abs(measured / line.asked_bytes_per_s - 1) > TOLERANCE:
        found.append(
            f"{where}: `{line.rule}` asks for {format_rate(line.asked_bytes_per_s)}, measured "
            f"{rounded(measured)} ({measured / line.asked_bytes_per_s - 1:+.1%}, allowed "
            f"{TOLERANCE:.0%})"
        )
    return found


def _faults_of_share(outcomes: Sequence[Outcome]) -> list[str]:
    """Of n clients drawn at 50 % about half are in: within three standard deviations."""
    drawn = [line for line in outcomes if line.visit.promise == "by share"]
    if not drawn:
        return []
    slowed = sum(line.asked_bytes_per_s is not None for line in drawn)
    allowed = 3 * math.sqrt(len(drawn)) / 2
    if abs(slowed - len(drawn) / 2) > allowed:
        return [f"{slowed} of {len(drawn)} desktops are slowed, which is not about half"]
    return []
