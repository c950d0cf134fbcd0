"""What is seen of the throttle: the log, the metrics, the live page.

Rule: whatever is in here looks on through `Throttle.watch`; the throttle works without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmthrottle.proxy.addon import Throttle


def addons(throttle: Throttle) -> list[object]:
    """The mitmproxy addons that watch this throttle, to stand behind it in a script's list."""
    # Only here: `mitmthrottle top` should not wait for mitmproxy to be imported.
    from mitmthrottle.watch.log import Log
    from mitmthrottle.watch.metrics import Metrics
    from mitmthrottle.watch.page.addon import Page
    from mitmthrottle.watch.why import Why

    log = Log()
    metrics = Metrics(throttle, log)
    for observer in (log, metrics):
        throttle.observe(observer)
    return [log, Why(throttle), Page(throttle, metrics.exposition)]
