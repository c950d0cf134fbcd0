"""What has gone out of a body, and at what rate.

Rule: bytes are set against the time in which they came.  What goes out at the very beginning has
taken no time (a burst, the piece that a new budget holds), so the clock starts behind it; and what
was too short to be told within a percent is not told.
"""

from __future__ import annotations

OPENING_S = 0.05  # what leaves within this of the first byte came at once
# The proxy's clock and a receiver's disagree by a few milliseconds over when a piece came.
SHORTEST_S = 0.25


class Meter:
    """Bytes and times of one body, in seconds of one monotonic clock."""

    __slots__ = ("_counted_from", "_counted_from_bytes", "first", "last", "sent_bytes")

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.first: float | None = None
        self.last: float | None = None
        self._counted_from = 0.0
        self._counted_from_bytes = 0

    def passed(self, size: int, now: float) -> None:
        """These bytes have gone out."""
        self.sent_bytes += size
        self.last = now
        if self.first is None:
            self.first = now
        if now - self.first <= OPENING_S:
            self._counted_from = now
            self._counted_from_bytes = self.sent_bytes

    @property
    def bytes_per_s(self) -> float | None:
        """Goodput from behind the opening to the last byte; None where that is too short to tell.

        A receiver that does the same sum over its arrivals gets the same, within a percent.
        """
        if self.last is None or self.last - self._counted_from < SHORTEST_S:
            return None
        return (self.sent_bytes - self._counted_from_bytes) / (self.last - self._counted_from)
