"""What Prometheus reads of the throttle.

Rule: labels are bounded: a rule's name, what a body is, how it ended; never a URL, a host or a
client. Counters are kept as records come, gauges are worked out when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary
from prometheus_client.exposition import choose_encoder

from mitmthrottle.policy import Policy, PolicyError, Rule
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.record import Record
from mitmthrottle.proxy.watcher import Watcher
from mitmthrottle.watch.log import Log
from mitmthrottle.watch.metrics_live import Live

MOST_RULES = 100
"""The first so many rules that a body has fallen under are told apart; the others are `OTHER`."""
OTHER = "other"

# From a modem to a gigabit: 8 kbit/s to 800 Mbit/s.
RATES_BYTES_PER_S = (1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8)
# Close together around 1, where it is to be.
RATIOS = (0.5, 0.75, 0.9, 0.95, 0.99, 1.01, 1.05, 1.1, 1.25, 2.0)


@dataclass(frozen=True, slots=True)
class _Series:
    """Where a record is counted. Finding these by their labels takes longer than counting."""

    ended: Counter
    sent_bytes: Counter
    waited: Counter
    asked: Summary
    measured: Histogram
    ratio: Histogram | None
    """None where the rate is shared: what one body got says nothing of its accuracy"""


class Metrics(Watcher):
    """Counts for Prometheus, in a registry of its own."""

    def __init__(self, throttle: Throttle, log: Log) -> None:
        self.registry = CollectorRegistry()
        self._rules: set[str] = set()
        self._series: dict[tuple[str | None, ...], _Series] = {}
        self._responses = Counter(
            "mitmthrottle_responses",
            "Responses under a rule that have ended.",
            ("rule", "content", "outcome"),
            registry=self.registry,
        )
        self._relayed = Counter(
            "mitmthrottle_relayed",
            "Uploads, and directions of WebSockets and of opaque connections, that have ended.",
            ("kind", "direction", "rule", "outcome"),
            registry=self.registry,
        )
        self._bytes = Counter(
            "mitmthrottle_sent_bytes",
            "Bytes of bodies under a rule, counted when they have ended.",
            ("rule", "content", "direction"),
            registry=self.registry,
        )
        self._waited = Counter(
            "mitmthrottle_waited_seconds",
            "For how long something of a body was held back.",
            ("rule", "content"),
            registry=self.registry,
        )
        self._asked = Summary(
            "mitmthrottle_asked_bytes_per_second",
            "The lowest rate that the rule names, of each body that has ended.",
            ("rule",),
            registry=self.registry,
        )
        self._measured = Histogram(
            "mitmthrottle_measured_bytes_per_second",
            "The rate at which a body went out, where it took long enough to tell.",
            ("rule",),
            buckets=RATES_BYTES_PER_S,
            registry=self.registry,
        )
        self._ratio = Histogram(
            "mitmthrottle_measured_to_asked_ratio",
            "Measured rate over asked rate, of bodies that share their rate with nobody.",
            ("rule",),
            buckets=RATIOS,
            registry=self.registry,
        )
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
        self.registry.register(Live(throttle, log, self.label))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The body and its content type, in the format that an Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def label(self, rule: Rule) -> str:
        """The rule's name, or `OTHER` where there are too many."""
        if rule.name in self._rules:
            return rule.name
        if len(self._rules) >= MOST_RULES:
            return OTHER
        self._rules.add(rule.name)
        return rule.name

    # -- what the throttle tells

    def ended(self, record: Record) -> None:
        if record.rule is None:
            return
        key = (record.rule.name, record.content, record.kind, record.direction, record.outcome)
        series = self._series.get(key)
        if series is None:
            series = self._series_of(record, record.rule)
            if self.label(record.rule) != OTHER:  # so that this, too, stays bounded
                self._series[key] = series
        series.ended.inc()
        series.sent_bytes.inc(record.sent_bytes)
        series.waited.inc(record.waited_s)
        asked, measured = record.asked_bytes_per_s, record.measured_bytes_per_s
        if asked is not None:
            series.asked.observe(asked)
        if measured is not None:
            series.measured.observe(measured)
            if asked and series.ratio is not None:
                series.ratio.observe(measured / asked)

    def _series_of(self, record: Record, rule: Rule) -> _Series:
        name, content = self.label(rule), record.content or OTHER
        if record.kind == "response":
            ended = self._responses.labels(name, content, record.outcome)
        else:
            ended = self._relayed.labels(record.kind, record.direction, name, record.outcome)
        return _Series(
            ended=ended,
            sent_bytes=self._bytes.labels(name, content, record.direction),
            waited=self._waited.labels(name, content),
            asked=self._asked.labels(name),
            measured=self._measured.labels(name),
            ratio=None if _shares(rule) else self._ratio.labels(name),
        )

    def failed(self, what: str) -> None:
        self._failures.inc()

    def policy_in_force(self, policy: Policy, path: Path | None, reloads: int) -> None:
        self._series.clear()  # a rule of that name may share its rate now
        if reloads > self._reloads_seen:
            self._reloads.labels("good").inc(reloads - self._reloads_seen)
            self._reloads_seen = reloads

    def policy_refused(self, error: PolicyError) -> None:
        self._reloads.labels("refused").inc()


def _shares(rule: Rule) -> bool:
    return any(limit.per != "response" for limit in rule.then.rate)
