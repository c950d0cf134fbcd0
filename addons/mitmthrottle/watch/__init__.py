"""What is seen of the throttle: the log, the metrics, the live page.

Rule: whatever is in here reads a `Snapshot` and what an `Observer` is told (proxy/snapshot.py), and
reaches into nothing else of the throttle, which works without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmthrottle.proxy.snapshot import Observed


def addons(throttle: Observed) -> list[object]:
    """The mitmproxy addons that observe this throttle, to stand behind it in a script's list."""
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
