"""What was done with one body, as told to the flow, the log, the metrics and the page.

Rule: plain facts in SI units, complete when it is made; nothing later asks the proxy for more.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mitmthrottle.policy import Exchange, Kind, Rule
from mitmthrottle.policy.facts import kind_of

type RecordKind = Literal["response", "upload", "opaque", "websocket"]
type Direction = Literal["down", "up"]


class Record(NamedTuple):
    """One body at its end: a response, a request's body, or one way of a relayed connection."""

    kind: RecordKind
    direction: Direction
    flow_id: str
    """mitmproxy's id of the flow; of the client connection where there is no flow"""
    time: float
    """Unix seconds when the headers came, or when a relayed connection said for whom it is"""
    exchange: Exchange
    rule: Rule | None
    """None: no rule has matched"""
    asked_bytes_per_s: float | None
    """the lowest rate that the rule names, shared or not; None where it names none"""
    measured_bytes_per_s: float | None
    """see meter.py; None where it went out too fast to tell"""
    sent_bytes: int
    waited_s: float
    """for how long anything was held back: headers, bytes or the end"""
    duration_s: float
    """from the headers to the end"""
    outcome: str
    """complete, client-gone, origin-gone, cut, blocked or stopped"""
    version: str = ""
    """of the policy that decided: the first 12 digits of its file's SHA-256, and a `+` where
    commands had changed it"""

    @property
    def content(self) -> Kind | None:
        """photo, video, audio, websocket; None for anything else."""
        return kind_of(self.exchange)

    def record(self) -> Record:
        """Itself: there are also those that have yet to become one, see unpaced.py."""
        return self
