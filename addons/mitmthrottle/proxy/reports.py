"""What the engine has to tell: to the flow itself, to those who watch, and in its own counts.

Rule: everything that happens to a body is told here, once, whoever wants to know.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from mitmproxy import http
from mitmproxy.flow import Flow

from mitmthrottle.policy import Decision, Exchange, Rule

from .bodies.body import Body
from .mark import Marks
from .observer import Observers
from .unpaced import Unpaced

logger = logging.getLogger(__name__)


class Reports:
    """From the engine to marks, observers and counts; and what of passing responses is awaited."""

    def __init__(self, observers: Observers, marks: Marks, now: Callable[[], float]) -> None:
        self.observers = observers
        self.marks = marks
        self.counts: Counter[str] = Counter()
        """outcomes; `failed`: flows passed on errors of ours; `failed_beyond`: ended on others'"""
        self.unmatched = 0  # responses that no rule has matched
        self._now = now
        self.passing: dict[str, Unpaced] = {}  # responses that are only looked at, by flow

    # -- decisions

    def unconcerned(self, flow: http.HTTPFlow, now: float, elapsed_s: float, version: str) -> None:
        """No rule could match its host, and somebody wants to know."""
        passing = Unpaced(flow, None, None, version, now, elapsed_s)
        self.passing[flow.id] = passing
        self.observers.unconcerned(passing)

    def decided(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        self.observers.decided(flow, exchange, decision)

    # -- responses that are left alone

    def passes(
        self, flow: http.HTTPFlow, exchange: Exchange, rule: Rule | None, version: str
    ) -> None:
        """No rule slows it, or only one with `pass: true` has matched."""
        if rule is None:
            self.unmatched += 1
        if rule is not None or self.observers.wants_unmatched:
            passing = Unpaced(flow, exchange, rule, version, self._now(), exchange.elapsed_s)
            self.passing[flow.id] = passing

    def has_passed(self, flow: http.HTTPFlow) -> None:
        """mitmproxy has the whole response, or it has failed."""
        if self.passing and (passing := self.passing.pop(flow.id, None)):
            if passing.rule is not None:
                self.counts[passing.outcome] += 1
            self.observers.ended(passing.over(self._now()))

    # -- bodies in the throttle's hands

    def began(self, body: Body) -> None:
        if self.observers.listen_to_beginnings:
            self.observers.began(body.snapshot(self._now()))

    def ended(self, body: Body, outcome: str) -> None:
        try:
            record = body.record(outcome)
            if record.rule is None:
                self.unmatched += 1
            else:
                self.counts[record.outcome] += 1
            self.observers.ended(record)
            flow, rule = body.flow, record.rule
            if isinstance(flow, Flow) and rule is not None and not rule.then.pass_:
                self.marks.ended(flow, rule, record)
        except Exception:  # what is told of a body must not keep it from its end
            self.failed(f"what is told of {body.subject}")

    # -- errors

    def failed(self, what: str) -> None:
        """To be called in an `except`: an error of ours, and that exchange goes on without us."""
        self.counts["failed"] += 1
        logger.exception("mitmthrottle failed on %s and lets it pass unthrottled", what)
        self.observers.failed(what)

    def failed_beyond(self, what: str) -> None:
        """To be called in an `except`: another addon or mitmproxy itself has raised on what it was
        handed.  Its exchange ends; no other is harmed."""
        self.counts["failed_beyond"] += 1
        logger.exception(
            "%s: an addon or mitmproxy itself failed on it; that exchange is ended by mitmthrottle",
            what,
        )
