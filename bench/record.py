"""What is known of one response: when how many of its body's bytes came.

Rule: times are of CLOCK_MONOTONIC, which all processes of a machine share; bytes are body bytes,
without headers or framing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """One response.  `arrivals` are pairs of a time and the bytes that came then.

    `ended`: `complete`, `stopped` (by the plan), or what went wrong.
    """

    job: str
    stream: int
    started: float
    status: int = 0
    total: int = 0
    ended: str = ""
    ended_at: float = 0.0
    arrivals: list[list[float]] = field(default_factory=list)
    _latest: float = -1.0

    def arrived(self, size: int, now: float, merge_s: float) -> None:
        self.total += size
        if self.arrivals and now - self._latest < merge_s:
            self.arrivals[-1][1] += size
        else:
            self.arrivals.append([now, size])
            self._latest = now  # the first of what is merged: a steady stream is not one arrival

    @property
    def seconds(self) -> float:
        """From the request to the end."""
        return self.ended_at - self.started

    def to_list(self) -> list[Any]:
        arrivals = [[round(when, 5), int(size)] for when, size in self.arrivals]
        return [self.job, self.stream, round(self.started, 5), self.status, self.total,
                self.ended, round(self.ended_at, 5), arrivals]  # fmt: skip

    @classmethod
    def from_list(cls, data: list[Any]) -> Record:
        return cls(*data)
