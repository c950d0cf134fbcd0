"""What the engine has to tell: to the flow itself, to those who watch, and in its own counts.

Rule: everything that happens to a body is told here, once, whoever wants to know.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from mitmproxy import http

from mitmthrottle.policy import Decision, Exchange, Rule

from .held import Held
from .mark import Marks
from .passing import Passing
from .watcher import Watchers

logger = logging.getLogger(__name__)


class Reports:
    """From the engine to marks, watchers and counts; and what of passing responses is awaited."""

    def __init__(self, watchers: Watchers, marks: Marks, now: Callable[[], float]) -> None:
        self.watchers = watchers
        self.marks = marks
        self.counts: Counter[str] = Counter()  # outcomes, and `failed`: flows passed on an error
        self.unmatched = 0  # responses that no rule has matched
        self.stopping = False
        self._now = now
        self.passing: dict[str, Passing] = {}  # responses that are only looked at, by flow

    # -- decisions

    def unconcerned(self, flow: http.HTTPFlow, now: float, elapsed_s: float, version: str) -> None:
        """No rule could match its host, and somebody wants to know."""
        passing = Passing(flow, None, None, version, now, elapsed_s)
        self.passing[flow.id] = passing
        self.watchers.unconcerned(passing)

    def decided(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        self.watchers.decided(flow, exchange, decision)

    # -- responses that are left alone

    def passes(
        self, flow: http.HTTPFlow, exchange: Exchange, rule: Rule | None, version: str
    ) -> None:
        """No rule slows it, or only one with `pass: true` has matched."""
        if rule is None:
            self.unmatched += 1
        if rule is not None or self.watchers.wants_unmatched:
            passing = Passing(flow, exchange, rule, version, self._now(), exchange.elapsed_s)
            self.passing[flow.id] = passing

    def has_passed(self, flow: http.HTTPFlow) -> None:
        """mitmproxy has the whole response, or it has failed."""
        if self.passing and (passing := self.passing.pop(flow.id, None)):
            if passing.rule is not None:
                self.counts[passing.outcome] += 1
            self.watchers.ended(passing.over(self._now()))

    # -- bodies in the throttle's hands

    def began(self, held: Held) -> None:
        self.watchers.began(held)

    def ended(self, held: Held, outcome: str) -> None:
        if self.stopping and outcome in ("client-gone", "origin-gone"):
            outcome = "stopped"  # mitmproxy closes all connections
        record = held.record(outcome)
        if record.rule is None:
            self.unmatched += 1
        else:
            self.counts[record.outcome] += 1
        self.watchers.ended(record)
        if held.flow is not None and record.rule is not None and not record.rule.then.pass_:
            self.marks.ended(held.flow, record.rule, record)

    # -- errors of ours

    def failed(self, what: str) -> None:
        """To be called in an `except`: that exchange goes on without us."""
        self.counts["failed"] += 1
        logger.exception("mitmthrottle failed on %s and lets it pass unthrottled", what)
        self.watchers.failed(what)
