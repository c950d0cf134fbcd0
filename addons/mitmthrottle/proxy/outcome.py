"""What was done with one response, as told to the record, the flow and the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from mitmthrottle.policy import Exchange, Rule


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rates in bytes/s, times in seconds; `waited_s` is how long bytes were held in all."""

    rule: Rule
    exchange: Exchange
    asked_bytes_per_s: float | None
    measured_bytes_per_s: float | None
    sent_bytes: int
    waited_s: float
    duration_s: float
    outcome: str
