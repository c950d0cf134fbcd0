"""What processes share through a Valkey or Redis server: parts of budgets, turns, quotas, a clock.

Rule: no response waits for the store.  What it says is taken in when it comes; while it says
nothing, each process goes on by itself as `throttle_store_down` wants it.
"""

from .address import Address
from .connection import StoreUnavailable
from .names import Names
from .peers import PeerMessage, PeerMessages, exchange_status
from .starts import Down, SharedLine
from .store import Store

__all__ = [
    "Address",
    "Down",
    "Names",
    "PeerMessage",
    "PeerMessages",
    "SharedLine",
    "Store",
    "StoreUnavailable",
    "exchange_status",
]
