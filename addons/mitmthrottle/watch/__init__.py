"""What is seen of the throttle: the log, the metrics, the live page.

Rule: whatever is in here looks on through `Throttle.watch`; the throttle works without it.
"""

from __future__ import annotations

from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.watch.log import Log
from mitmthrottle.watch.metrics import Metrics
from mitmthrottle.watch.page import Page
from mitmthrottle.watch.why import Why


def addons(throttle: Throttle) -> list[object]:
    """The mitmproxy addons that watch this throttle, to stand behind it in a script's list."""
    log = Log()
    metrics = Metrics(throttle, log)
    for watcher in (log, metrics):
        throttle.watch(watcher)
    return [log, Why(throttle), Page(throttle, metrics.exposition)]
