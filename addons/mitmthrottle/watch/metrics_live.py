"""The metrics that are so at the moment of asking: what is under way, what is body, which policy.

Rule: nothing is kept here; each is read where it is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from mitmthrottle.policy import Rule
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.engine import Engine
from mitmthrottle.watch.log import Log

UNDECIDED = ""
"""The rule of a body that has still to tell what it is, or that no rule holds any more."""


class Live(Collector):
    """To be asked in the proxy's event loop only: that is where all of it changes."""

    def __init__(self, throttle: Throttle, log: Log, label: Callable[[Rule], str]) -> None:
        self._throttle = throttle
        self._log = log
        self._label = label

    def describe(self) -> Iterator[Metric]:
        """Asked at registration, for names that are taken."""
        yield from self.collect()

    def collect(self) -> Iterator[Metric]:
        engine = self._throttle.engine
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
            for (kind, rule), count in self._under_way(engine).items():
                active.add_metric((kind, rule), count)
            waiting.add_metric((), sum(body.waiting_bytes for body in engine.active()))
            policy.add_metric((), {"name": engine.policy.name, "version": engine.version})
            rules.add_metric((), len(engine.policy.rules))
        unmatched.add_metric((), engine.reports.unmatched if engine else 0)
        yield from self._shared(engine)
        faults = CounterMetricFamily(
            "mitmthrottle_watcher_failures", "Errors in what looks on: log, metrics, page."
        )
        faults.add_metric((), sum(self._throttle.watchers.faults.values()))
        lost = CounterMetricFamily(
            "mitmthrottle_log_lost_lines", "Lines that throttle_log could not write."
        )
        lost.add_metric((), self._log.lost)
        yield from (active, waiting, unmatched, policy, rules, faults, lost)

    def _shared(self, engine: Engine | None) -> Iterator[Metric]:
        """Of a store that several proxies share; nothing where there is none."""
        store = engine.store if engine is not None else None
        if store is None:
            return
        yield GaugeMetricFamily(
            "mitmthrottle_store_up", "Whether the shared store answers.", float(store.away is None)
        )
        yield GaugeMetricFamily(
            "mitmthrottle_store_processes", "Processes that share.", store.parts.processes
        )
        yield GaugeMetricFamily(
            "mitmthrottle_store_budgets", "Shared budgets in use here.", len(store.parts)
        )
        for name, help_text, count in (
            ("calls", "Calls to the shared store.", store.link.calls),
            ("outages", "How often the shared store went away.", store.counts["away"]),
            ("losses", "How often it had lost what it knew.", store.counts["emptied"]),
        ):
            yield CounterMetricFamily(f"mitmthrottle_store_{name}", help_text, count)

    def _under_way(self, engine: Engine) -> Counter[tuple[str, str]]:
        return Counter(
            (body.kind, self._label(body.rule) if body.rule else UNDECIDED)
            for body in engine.active()
        )
