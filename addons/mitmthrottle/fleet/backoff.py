"""How long to wait before a program that has ended is started again.

Rule: pure. One that had run well for a while is started again at once or nearly so; one that
cannot run does not keep the machine busy with trying.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S = 0.25
LONGEST_S = 30.0
STEADY_S = 30.0
"""Whoever has run that long starts afresh."""


@dataclass(slots=True)
class Backoff:
    """One program's: 0.25 s, 0.5 s, 1 s, … 30 s."""

    _next_s: float = FIRST_S

    def after(self, ran_s: float) -> float:
        """Seconds to wait, now that it has ended after so many."""
        wait_s = FIRST_S if ran_s >= STEADY_S else self._next_s
        self._next_s = min(2 * wait_s, LONGEST_S)
        return wait_s
