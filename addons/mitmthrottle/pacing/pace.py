"""The timeline of one response: how long before its first byte, and how large its next piece.

Rule: a piece is a matter of time, not of bytes: 50 ms of what the response may have.  So with the
default burst of 100 ms a wake-up may be 50 ms late and nothing is lost, and any 250 ms hold at
most six pieces, 1.2 times the mean.
"""

from __future__ import annotations

from .budgets import START_S
from .schedule import Claim

PIECE_S = 0.05
MIN_PIECE_BYTES = 256
MAX_PIECE_BYTES = 64 * 1024
# Each piece costs the proxy 70 to 150 us of CPU.  Up to 100 ms, pieces grow so that there are no
# more than the first number a second; beyond that, no more than the second.
PIECES_PER_S = 1000
MOST_PIECES_PER_S = 2000


def piece_s(paced_responses: int) -> float:
    """How much of its rate a piece is, in seconds, while that many responses are paced."""
    return max(
        PIECE_S,
        min(2 * PIECE_S, paced_responses / PIECES_PER_S),
        paced_responses / MOST_PIECES_PER_S,
    )


class Pace:
    """What one response has to keep to.

    `delay_s` passes before its first byte; `claim` is its way through its budgets, or None when
    its rate is free.
    """

    __slots__ = ("_first", "claim", "delay_s")

    def __init__(self, delay_s: float, claim: Claim | None) -> None:
        self.delay_s = delay_s
        self.claim = claim
        self._first = True

    def __repr__(self) -> str:
        return f"Pace(delay {self.delay_s:.3f} s, {self.claim})"

    @property
    def rate_bytes_per_s(self) -> float | None:
        """The most that this response can get now, shared budgets shared; None: no limit."""
        if self.claim is None:
            return None
        # A list, since a generator takes twice as long, and every body is asked at once.
        return min([budget.share_bytes_per_s for budget in self.claim.budgets])

    def piece_bytes(self, paced_responses: int) -> int:
        """The size of the next piece, while that many responses are paced in all."""
        if self.claim is None:
            return MAX_PIECE_BYTES
        share = limit = float("inf")
        at_once = False
        for budget in self.claim.budgets:
            share = min(share, budget.share_bytes_per_s)
            limit = min(limit, budget.piece_limit_bytes)
            at_once = at_once or budget.policing
        if at_once:  # a policer spends what it has at line speed
            return max(1, int(min(MAX_PIECE_BYTES, limit)))
        if self._first:  # what a new budget holds: the first byte leaves at once
            self._first = False
            return max(1, int(min(share * START_S, MAX_PIECE_BYTES, limit)))
        seconds = piece_s(paced_responses)
        wanted = min(max(share * seconds, MIN_PIECE_BYTES), MAX_PIECE_BYTES)
        return max(1, int(min(wanted, limit)))
