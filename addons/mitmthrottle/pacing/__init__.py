"""When may n bytes leave.  Pure arithmetic: no HTTP, no event loop, time is an argument.

Rule: nothing here reads a clock.  `now` is in seconds of any monotonic clock, the same one in
every call; bytes are body bytes; rates are bytes per second.
"""

from .budgets import Budget
from .pace import MAX_PIECE_BYTES, Pace, piece_s
from .parts import Answer, Demand, Mode, Part, Parts
from .quota import Quota, Quotas, SharedQuota
from .schedule import Claim, Schedule
from .shared import Shared
from .starts import StartChain, StartLimiter, StartTicket
from .timeline import Silences, Stalls, Timeline

__all__ = [
    "MAX_PIECE_BYTES",
    "Answer",
    "Budget",
    "Claim",
    "Demand",
    "Mode",
    "Pace",
    "Part",
    "Parts",
    "Quota",
    "Quotas",
    "Schedule",
    "Shared",
    "SharedQuota",
    "Silences",
    "Stalls",
    "StartChain",
    "StartLimiter",
    "StartTicket",
    "Timeline",
    "piece_s",
]
