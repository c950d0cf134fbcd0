"""When may n bytes leave.  Pure arithmetic: no HTTP, no event loop, time is an argument.

Rule: nothing here reads a clock.  `now` is in seconds of any monotonic clock, the same one in
every call; bytes are body bytes; rates are bytes per second.
"""

from .allocations import Allocation, Allocations, Answer, Demand, Mode
from .budgets import Budget
from .pace import MAX_PIECE_BYTES, Pace, piece_s
from .quota import Quota, Quotas, SharedQuota
from .schedule import Claim, Schedule
from .shared import Shared
from .starts import StartChain, StartLimiter, StartTicket
from .timeline import Silences, Stalls, Timeline

__all__ = [
    "MAX_PIECE_BYTES",
    "Allocation",
    "Allocations",
    "Answer",
    "Budget",
    "Claim",
    "Demand",
    "Mode",
    "Pace",
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
