"""How many bodies may be held before their start, and for whom.

Rule: a body that may not be held passes at once; it is counted, and said once a minute.  When half
of the places are taken, no client gets more than a quarter of all: it cannot take the others'
places, and a load test from one address has two thousand.
"""

from __future__ import annotations

import logging
import math
from collections import Counter

logger = logging.getLogger(__name__)

DEFAULT_MOST_HELD = 4000
"""Each costs 31 to 199 KiB: a connection, its TLS, a flow."""
SHARE_OF_ONE_CLIENT = 4
EVERY_S = 60.0


class Held:
    """Those that are held now: by a delay, in line for a start, or blocked by silence."""

    def __init__(self) -> None:
        self.most = DEFAULT_MOST_HELD
        """0: no bound"""
        self.not_held = 0
        """bodies so far that there was no place for"""
        self._by_client: Counter[str] = Counter()
        self._all = 0
        self._say_after = -math.inf

    def __len__(self) -> int:
        return self._all

    def take(self, client: str, now: float) -> bool:
        """A place for one more of that client; `release` gives it back.  False: there is none."""
        is_scarce = 2 * self._all >= self.most
        has_enough = SHARE_OF_ONE_CLIENT * self._by_client[client] >= self.most
        if self.most and (self._all >= self.most or (is_scarce and has_enough)):
            self.not_held += 1
            self._say(now)
            return False
        self._by_client[client] += 1
        self._all += 1
        return True

    def release(self, client: str) -> None:
        self._all -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]

    def _say(self, now: float) -> None:
        if now >= self._say_after:
            self._say_after = now + EVERY_S
            logger.warning(
                "mitmthrottle: as many are held as `throttle_most_held` allows (%d, and when half "
                "of that is taken, a quarter for one client): %d have passed without their delay "
                "so far",
                self.most,
                self.not_held,
            )
