"""One response as it came over the wire, and how it ended.

Rule: nothing is tidied. Header names keep their case and order, a body its encoding, and an end
that is not the proper one is a fact like any other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]

OPEN = "still open"
COMPLETE = "complete"
TRUNCATED = "closed early"
RESET = "connection reset"


@dataclass
class Answer:
    """A response. Times are of `time.perf_counter`, in seconds."""

    status: int = 0
    http_version: str = ""
    reason: bytes = b""
    headers: Headers = field(default_factory=list)
    early: list[tuple[int, Headers]] = field(default_factory=list)
    """the 1xx that came before"""
    trailers: Headers = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    end: str = OPEN
    """OPEN, COMPLETE, TRUNCATED, RESET, or what HTTP/2 says (`stream reset 8`)"""
    sent_at: float = field(default_factory=time.perf_counter)
    headers_at: float = 0.0
    ended_at: float = 0.0

    def arrived(self, data: bytes, at: float, keep: bool) -> None:
        self.arrivals.append((at, len(data)))
        if keep:
            self.body += data

    def ends(self, how: str) -> None:
        self.end = how
        self.ended_at = time.perf_counter()

    @property
    def size(self) -> int:
        """bytes of body so far"""
        return sum(size for _, size in self.arrivals)

    @property
    def first_byte_s(self) -> float:
        """From sending the request to the first byte of the body."""
        return self.arrivals[0][0] - self.sent_at

    @property
    def duration_s(self) -> float:
        """From sending the request to the end."""
        return self.ended_at - self.sent_at

    def header(self, name: str) -> str:
        """The first header of that name; empty if there is none."""
        wanted = name.lower().encode()
        return next((v.decode("latin-1") for n, v in self.headers if n.lower() == wanted), "")
