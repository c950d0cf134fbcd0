"""What was done with one response, as told to the record, the flow and the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from mitmthrottle.policy import Rule


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done with one response; rates in bytes/s, times in seconds."""

    rule: Rule
    asked_bytes_per_s: float | None
    measured_bytes_per_s: float | None
    sent_bytes: int
    waited_s: float
    outcome: str
