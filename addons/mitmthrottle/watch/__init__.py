"""What is seen of the throttle: the log, the metrics, the live page.

Rule: whatever is in here looks on through `Throttle.watch`; the throttle works without it.
"""

from __future__ import annotations

from mitmthrottle.proxy.addon import Throttle


def addons(throttle: Throttle) -> list[object]:
    """The mitmproxy addons that watch this throttle, to stand behind it in a script's list."""
    return []
