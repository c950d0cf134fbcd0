"""Short pauses: what was there when the proxy started is not searched for garbage again and again.

Rule: once, when mitmproxy runs; a search of everything that two large programs have loaded takes
60 ms, in which no piece of any response leaves.
"""

from __future__ import annotations

import gc


class FreezeGarbage:
    """An addon; what a proxy has loaded stays as long as the proxy."""

    def running(self) -> None:
        gc.collect()
        gc.freeze()
