"""What is known of one body, as told to the flow, the log, the metrics and the page: at its end (a
`Record`) and while it is under way (a `BodySnapshot`).

Rule: plain facts in SI units, complete when they are made; nothing later asks the proxy for more.
Both are made for each of thousands of bodies, so they are named tuples: a frozen dataclass of as
many fields takes four times as long to make.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mitmthrottle.policy import Exchange, Kind, Rule
from mitmthrottle.policy.facts import kind_of

type RecordKind = Literal["response", "upload", "opaque", "websocket"]
type Direction = Literal["down", "up"]
type BodyState = Literal["waiting to start", "delayed", "paced", "unlimited"]
"""`waiting to start`: others start before it (`requests`); `delayed`: nothing of it is to pass yet;
`unlimited`: no rate holds it now"""


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


class BodySnapshot(NamedTuple):
    """One body under way, as it was at one moment."""

    kind: RecordKind
    direction: Direction
    flow_id: str
    """as in its record"""
    client_id: str
    """mitmproxy's id of the client connection"""
    exchange: Exchange
    rule: Rule | None
    """None: only the body can tell which it is, or its rule is gone"""
    state: BodyState
    sent_bytes: int
    """that have gone out"""
    waiting_bytes: int
    """that are held in the proxy"""
    rate_bytes_per_s: float | None
    """what it may have now, shared budgets shared; None: no limit"""
    measured_bytes_per_s: float | None
    """since its beginning, see meter.py; None where that is too short to tell"""
    age_s: float
    """since the message's headers came"""
    held_s: float | None
    """for so long something of it has been held back; None: nothing is"""

    @property
    def key(self) -> tuple[str, RecordKind, Direction]:
        """What tells it from all other bodies under way, in one snapshot and the next."""
        return self.flow_id, self.kind, self.direction
