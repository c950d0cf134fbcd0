"""What Prometheus reads of the throttle.

Rule: labels are bounded: a rule's name, what a body is, how it ended; never a URL, a host or a
client. Counts are kept as records come, gauges are worked out when somebody asks.
"""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import choose_encoder

from mitmthrottle.policy import Policy, PolicyError
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.watcher import EndedBody, Watcher
from mitmthrottle.watch.log import Log
from mitmthrottle.watch.metrics_ended import Ended
from mitmthrottle.watch.metrics_live import Live


class Metrics(Watcher):
    """Counts for Prometheus, in a registry of its own."""

    def __init__(self, throttle: Throttle, log: Log) -> None:
        self.registry = CollectorRegistry()
        self._throttle = throttle
        self._ended = Ended()
        self._failures = Counter(
            "mitmthrottle_failures",
            "Errors of mitmthrottle's own, each of which let something pass unthrottled.",
            registry=self.registry,
        )
        self._reloads = Counter(
            "mitmthrottle_policy_reloads",
            "Newer versions of the policy file that took over (good) or did not load (refused).",
            ("result",),
            registry=self.registry,
        )
        for result in ("good", "refused"):
            self._reloads.labels(result)
        self._reloads_seen = 0
        self.registry.register(self._ended)
        self.registry.register(Live(throttle, log, self._ended.label))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The body and its content type, in the format that an Accept header asks for."""
        self._throttle.watchers.catch_up()
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    # -- what the throttle tells

    def ended(self, record: EndedBody) -> None:
        if record.rule is not None:
            self._ended.count(record, record.rule)

    def failed(self, what: str) -> None:
        self._failures.inc()

    def policy_in_force(self, policy: Policy, path: Path | None, reloads: int) -> None:
        self._ended.rules_changed()
        if reloads > self._reloads_seen:
            self._reloads.labels("good").inc(reloads - self._reloads_seen)
            self._reloads_seen = reloads

    def policy_refused(self, error: PolicyError) -> None:
        self._reloads.labels("refused").inc()
