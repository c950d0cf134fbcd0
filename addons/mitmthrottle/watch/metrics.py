"""What Prometheus reads of the throttle.

Rule: labels are bounded: a rule's name, what a body is, how it ended; never a URL, a host or a
client.  To count a body that has ended costs next to nothing, since every slowed response does it;
names, labels, buckets and gauges are put together when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from mitmthrottle.policy import Policy, PolicyError, Rule
from mitmthrottle.proxy.observe.observer import EndedBody, Observer
from mitmthrottle.proxy.observe.snapshot import Observed, Snapshot, StoreSnapshot
from mitmthrottle.watch.log import Log


class Metrics(Observer):
    """Counts for Prometheus, in a registry of its own."""

    def __init__(self, throttle: Observed, log: Log) -> None:
        self.registry = CollectorRegistry()
        self._throttle = throttle
        self._ended = Ended()
        self._failures = PrometheusCounter(
            "mitmthrottle_failures",
            "Errors of mitmthrottle's own, each of which let something pass unthrottled.",
            registry=self.registry,
        )
        self._reloads = PrometheusCounter(
            "mitmthrottle_policy_reloads",
            "Newer versions of the policy file that took over (good) or did not load (refused).",
            ("result",),
            registry=self.registry,
        )
        for result in ("good", "refused"):
            self._reloads.labels(result)
        self._reloads_seen = 0
        self.registry.register(self._ended)
        self._gauges = Gauges(log, self._ended.label)
        self.registry.register(self._gauges)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The body and its content type, in the format that an Accept header asks for."""
        # Before the counts are read: observers are told first of what is not told yet.
        self._gauges.snapshot = self._throttle.snapshot()
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


MOST_RULES = 100
"""The first so many rules that a body has fallen under are told apart; the others are `OTHER`."""
OTHER = "other"

# From a modem to a gigabit: 8 kbit/s to 800 Mbit/s.
RATES_BYTES_PER_S = (1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8)
# Close together around 1, where it is to be.
RATIOS = (0.5, 0.75, 0.9, 0.95, 0.99, 1.01, 1.05, 1.1, 1.25, 2.0)


class _Distribution:
    """How often a value was in which bucket, and the sum of all."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: up to each bound, everything below it included."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


class _Rates:
    """Of one rule's bodies, or of all `OTHER` rules'."""

    __slots__ = ("asked_bytes_per_s", "asked_count", "measured", "ratio")

    def __init__(self) -> None:
        self.asked_count = 0
        self.asked_bytes_per_s = 0.0  # summed up
        self.measured: _Distribution | None = None
        self.ratio: _Distribution | None = None


class _Series:
    """Of bodies that have all labels in common."""

    __slots__ = ("count", "rates", "sent_bytes", "shares", "waited_s")

    def __init__(self, rates: _Rates) -> None:
        self.count = 0
        self.sent_bytes = 0
        self.waited_s = 0.0
        self.rates = rates
        self.shares = False


type _Key = tuple[str, str, str, str, str]
"""rule, content, kind, direction, outcome"""


class Ended(Collector):
    """Counts records, and tells the sums."""

    def __init__(self) -> None:
        self._rules: dict[str, _Rates] = {}  # by label
        self._series: dict[_Key, _Series] = {}
        # The same by what a record says; finding them by their labels takes longer than counting.
        self._known: dict[tuple[str | None, ...], _Series] = {}

    def label(self, rule: Rule) -> str:
        """The rule's name, or `OTHER` where there are too many."""
        name = rule.name
        if name not in self._rules:
            if len(self._rules) - (OTHER in self._rules) >= MOST_RULES:
                name = OTHER
            self._rules.setdefault(name, _Rates())
        return name

    def rules_changed(self) -> None:
        """A rule of the same name may share its rate now, or no longer."""
        self._known.clear()

    def count(self, record: EndedBody, rule: Rule) -> None:
        """One more body that this rule has slowed."""
        found = (rule.name, record.content, record.kind, record.direction, record.outcome)
        series = self._known.get(found)
        if series is None:
            series = self._series_of(found, record, rule)
        series.count += 1
        series.sent_bytes += record.sent_bytes
        series.waited_s += record.waited_s
        rates, asked, measured = series.rates, record.asked_bytes_per_s, record.measured_bytes_per_s
        if asked is not None:
            rates.asked_count += 1
            rates.asked_bytes_per_s += asked
        if measured is not None:
            if rates.measured is None:
                rates.measured = _Distribution(RATES_BYTES_PER_S)
            rates.measured.add(measured)
            # Where the rate is shared, what one body got says nothing of its accuracy.
            if asked and not series.shares:
                if rates.ratio is None:
                    rates.ratio = _Distribution(RATIOS)
                rates.ratio.add(measured / asked)

    def _series_of(self, found: tuple[str | None, ...], record: EndedBody, rule: Rule) -> _Series:
        label = self.label(rule)
        key = (label, record.content or OTHER, record.kind, record.direction, record.outcome)
        series = self._series.setdefault(key, _Series(self._rules[label]))
        series.shares = any(limit.per != "response" for limit in rule.then.rate)
        if label != OTHER:  # so that this, too, stays bounded
            self._known[found] = series
        return series

    # -- what Prometheus gets

    def collect(self) -> Iterator[Metric]:
        yield from self._sums()
        asked = SummaryMetricFamily(
            "mitmthrottle_asked_bytes_per_second",
            "The lowest rate that the rule names, of each body that has ended.",
            labels=("rule",),
        )
        for label, rates in self._rules.items():
            if rates.asked_count:
                asked.add_metric((label,), rates.asked_count, rates.asked_bytes_per_s)
        yield asked
        yield self._distributions(
            "mitmthrottle_measured_bytes_per_second",
            "The rate at which a body went out, where it took long enough to tell.",
            lambda rates: rates.measured,
        )
        yield self._distributions(
            "mitmthrottle_measured_to_asked_ratio",
            "Measured rate over asked rate, of bodies that share their rate with nobody.",
            lambda rates: rates.ratio,
        )

    def _sums(self) -> Iterator[Metric]:
        responses, relayed = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
        sent_bytes, waited_s = Counter[tuple[str, ...]](), dict[tuple[str, ...], float]()
        for (rule, content, kind, direction, outcome), series in self._series.items():
            if kind == "response":
                responses[rule, content, outcome] += series.count
            else:
                relayed[kind, direction, rule, outcome] += series.count
            sent_bytes[rule, content, direction] += series.sent_bytes
            waited_s[rule, content] = waited_s.get((rule, content), 0.0) + series.waited_s
        yield _counter(
            "mitmthrottle_responses",
            "Responses under a rule that have ended.",
            ("rule", "content", "outcome"),
            responses.items(),
        )
        yield _counter(
            "mitmthrottle_relayed",
            "Uploads, and directions of WebSockets and of opaque connections, that have ended.",
            ("kind", "direction", "rule", "outcome"),
            relayed.items(),
        )
        yield _counter(
            "mitmthrottle_sent_bytes",
            "Bytes of bodies under a rule, counted when they have ended.",
            ("rule", "content", "direction"),
            sent_bytes.items(),
        )
        yield _counter(
            "mitmthrottle_waited_seconds",
            "For how long something of a body was held back.",
            ("rule", "content"),
            waited_s.items(),
        )

    def _distributions(
        self, name: str, text: str, of: Callable[[_Rates], _Distribution | None]
    ) -> Metric:
        family = HistogramMetricFamily(name, text, labels=("rule",))
        for label, rates in self._rules.items():
            if found := of(rates):
                family.add_metric((label,), found.buckets(), found.total)
        return family


def _counter(
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], float]],
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


UNDECIDED = ""
"""The rule of a body that has still to tell what it is, or that no rule holds any more."""


class Gauges(Collector):
    """What a snapshot says."""

    def __init__(self, log: Log, label: Callable[[Rule], str]) -> None:
        self.snapshot = Snapshot()
        """to be set before it is asked"""
        self._log = log
        self._label = label

    def collect(self) -> Iterator[Metric]:
        """Also asked at registration, for names that are taken."""
        engine = self.snapshot.engine
        active = GaugeMetricFamily(
            "mitmthrottle_active", "Bodies that are being paced.", labels=("kind", "rule")
        )
        waiting = GaugeMetricFamily(
            "mitmthrottle_held_bytes", "Bytes that wait in the proxy for their turn."
        )
        unmatched = CounterMetricFamily(
            "mitmthrottle_unmatched_responses", "Responses that no rule has matched."
        )
        policy = InfoMetricFamily("mitmthrottle_policy", "The policy in force.")
        rules = GaugeMetricFamily("mitmthrottle_policy_rules", "Rules of the policy in force.")
        if engine is not None:
            under_way = Counter(
                (body.kind, self._label(body.rule) if body.rule else UNDECIDED)
                for body in engine.bodies
            )
            for (kind, rule), count in under_way.items():
                active.add_metric((kind, rule), count)
            waiting.add_metric((), sum(body.waiting_bytes for body in engine.bodies))
            policy.add_metric((), {"name": engine.policy.name, "version": engine.version})
            rules.add_metric((), len(engine.policy.rules))
            if engine.store is not None:
                yield from _of_store(engine.store)
        unmatched.add_metric((), engine.unmatched_responses if engine else 0)
        not_held = CounterMetricFamily(
            "mitmthrottle_not_held",
            "Bodies that passed without their delay, since throttle_most_held were held already.",
        )
        not_held.add_metric((), engine.not_held if engine else 0)
        faults = CounterMetricFamily(
            "mitmthrottle_watcher_failures", "Errors in what looks on: log, metrics, page."
        )
        faults.add_metric((), self.snapshot.observer_failures)
        lost = CounterMetricFamily(
            "mitmthrottle_log_lost_lines", "Lines that throttle_log could not write."
        )
        lost.add_metric((), self._log.lost)
        yield from (active, waiting, not_held, unmatched, policy, rules, faults, lost)


def _of_store(store: StoreSnapshot) -> Iterator[Metric]:
    """Where several proxies share one."""
    yield GaugeMetricFamily(
        "mitmthrottle_store_up", "Whether the shared store answers.", float(store.away_s is None)
    )
    yield GaugeMetricFamily(
        "mitmthrottle_store_processes", "Processes that share.", store.processes
    )
    yield GaugeMetricFamily(
        "mitmthrottle_store_budgets", "Shared budgets in use here.", store.budgets
    )
    for name, help_text, count in (
        ("calls", "Calls to the shared store.", store.calls),
        ("outages", "How often the shared store went away.", store.outages),
        ("losses", "How often it had lost what it knew.", store.losses),
    ):
        yield CounterMetricFamily(f"mitmthrottle_store_{name}", help_text, count)
