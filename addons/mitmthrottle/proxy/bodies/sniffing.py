"""A response of which only its body can tell which rule it is.

Rule: the first bytes tell what it is, whatever has passed on since; and it is never held for them
longer than a tenth of a second once the first of them is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

FIRST_BYTES = 512  # enough for every magic number we know
LONGEST_S = 0.1


class Sniffing:
    """What is seen of a body until its rule is known.

    `holds`: its kind is asked for, so nothing of it goes on before; else only its size is in
    question, of which enough is seen at `ask_at_bytes`.  `needs_more` tells of first bytes whether
    more of them could tell more.
    """

    def __init__(
        self,
        decide: Callable[[Sniffing], None],
        *,
        holds: bool,
        ask_at_bytes: int | None,
        needs_more: Callable[[bytes], bool],
        before: Sniffing | None = None,
    ) -> None:
        """`before`: what was seen when it was asked the last time."""
        self.decide = decide
        self.holds = holds
        self.ask_at_bytes = ask_at_bytes or 0
        self.first_bytes: bytes = before.first_bytes if before else b""
        self.seen_bytes: int = before.seen_bytes if before else 0
        self.complete: bool = before.complete if before else False
        self._first_at: float = before._first_at if before else math.inf
        self._needs_more = needs_more

    def saw(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """These bytes came."""
        if data and not self.seen_bytes:
            self._first_at = now
        self.seen_bytes += len(data)
        if len(self.first_bytes) < FIRST_BYTES:
            self.first_bytes += bytes(data[: FIRST_BYTES - len(self.first_bytes)])

    @property
    def give_up_at(self) -> float:
        """When what is there has to do; infinity where nothing is held for it."""
        return self._first_at + LONGEST_S if self.holds else math.inf

    def is_enough(self, now: float) -> bool:
        """Whether it can be decided now."""
        if self.complete:
            return True
        if not self.holds:
            return self.seen_bytes >= self.ask_at_bytes
        if not self.seen_bytes:
            return False
        return (
            len(self.first_bytes) >= FIRST_BYTES
            or not self._needs_more(self.first_bytes)
            or now >= self.give_up_at
        )
