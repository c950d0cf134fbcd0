"""What a body has to do with at both ends: the socket that it comes from, and who wakes its layer.

Rule: protocols only; mitmproxy and the event loop stand behind them.
"""

from __future__ import annotations

from typing import Protocol


class Wakeup(Protocol):
    """How a body's layer is woken.  It may be woken early and often."""

    def at(self, when: float) -> None:
        """Wake the layer at this time of `now`, or before."""

    def close(self) -> None: ...


class Reader(Protocol):
    """The socket that a body comes from."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def limit(self, size: int | None) -> None:
        """Read about that many bytes ahead; None: as many as by default."""
