"""When may n bytes leave.  Pure arithmetic: no HTTP, no event loop, time is an argument.

Rule: nothing here reads a clock.  `now` is in seconds of any monotonic clock, the same one in
every call; bytes are body bytes; rates are bytes per second.
"""

from .budgets import Budget, Shared
from .pace import MAX_PIECE_BYTES, Pace, piece_s
from .quota import Quota, Quotas
from .schedule import Claim, Schedule
from .timeline import Stalls, Timeline

__all__ = [
    "MAX_PIECE_BYTES",
    "Budget",
    "Claim",
    "Pace",
    "Quota",
    "Quotas",
    "Schedule",
    "Shared",
    "Stalls",
    "Timeline",
    "piece_s",
]
