"""Who is told what happens: the log, the metrics, the page.

Rule: an observer looks on. What goes wrong in one is logged once and counted, and never reaches
a flow or another observer; and what need not be told at once is told when there is more of it, for
one thing after another takes a third of the time that each takes between other things.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mitmproxy import http

from mitmthrottle.policy import Decision, Exchange, Policy, PolicyError

from .record import BodySnapshot, Record
from .unpaced import Unpaced

logger = logging.getLogger(__name__)

type EndedBody = Record | Unpaced
"""What is told of a body at its end.  Both are read alike; a `Unpaced` holds on to its flow, so
whoever keeps one keeps its `record()`."""

type Later = Callable[[float, Callable[[], None]], object]
"""Calls something after so many seconds, as an event loop's `call_later` does."""

NO_RULE = Decision(None)
TELL_EVERY_S = 0.2
MOST_UNTOLD = 250
"""decisions and ends: told in 4 ms or so, in which no piece of any response leaves"""


class Observer:
    """Told of everything, in the event loop: return soon and never wait. Override what you need."""

    wants_unmatched: bool = False
    """Whether to be told also of responses that no rule's host could match. Looked at for each
    response, so it may change. If nobody wants them, such a response costs nothing."""

    def policy_in_force(self, policy: Policy, path: Path | None, reloads: int) -> None:
        """This policy decides from now on; `reloads` counts how often a newer file took over.

        Also told when a command has changed a rule, and to an observer that comes later.
        """

    def policy_refused(self, error: PolicyError) -> None:
        """A newer file does not load; the policy in force stays."""

    def decided(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        """A response's headers came. Told again for the same flow when its body has settled it.
        Told within `TELL_EVERY_S`, and before the end of the same flow."""

    def began(self, body: BodySnapshot) -> None:
        """A body is in the throttle's hands; how far it is later, a `Snapshot` tells."""

    def ended(self, record: EndedBody) -> None:
        """A body has ended, however it did; also one that no rule slowed, if anybody wanted to be
        told of it when it began.  Told within `TELL_EVERY_S`."""

    def failed(self, what: str) -> None:
        """An error of ours: that exchange goes on unthrottled."""

    def stopped(self) -> None:
        """The throttle has stopped: no policy is in force any more."""


class Observers(Observer):
    """All that watch, as one."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()  # by observer and what it was told
        self._all: list[Observer] = []
        # Those who listen to what comes with each response.
        self._to_decisions: list[Observer] = []
        self._to_beginnings: list[Observer] = []
        self._to_ends: list[Observer] = []
        self._later: Later | None = None
        self._is_due = False  # somebody will call
        self._untold: list[EndedBody | tuple[http.HTTPFlow, Exchange, Decision]] = []

    @property
    def wants_unmatched(self) -> bool:  # type: ignore[override]  # read-only here
        for observer in self._all:  # noqa: SIM110  # for each response: `any` costs more
            if observer.wants_unmatched:
                return True
        return False

    def add(self, observer: Observer) -> None:
        self.catch_up()
        self._all.append(observer)
        kind = type(observer)
        for listeners, listens in (
            (self._to_decisions, kind.decided is not Observer.decided),
            (self._to_beginnings, kind.began is not Observer.began),
            (self._to_ends, kind.ended is not Observer.ended),
        ):
            if listens:
                listeners.append(observer)

    # -- decisions and ends, some at a time

    def tell_later(self, later: Later | None) -> None:
        """From now on they may wait for each other; None: they are told at once again."""
        self._later = later
        self._is_due = False
        self.catch_up()

    def decided(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        if self._to_decisions:
            self._put_off((flow, exchange, decision))

    def ended(self, record: EndedBody) -> None:
        if self._to_ends:
            self._put_off(record)

    def _put_off(self, what: EndedBody | tuple[http.HTTPFlow, Exchange, Decision]) -> None:
        self._untold.append(what)
        if self._later is None or len(self._untold) >= MOST_UNTOLD:
            self.catch_up()
        elif not self._is_due:
            self._is_due = True
            self._later(TELL_EVERY_S, self._time_is_up)

    def _time_is_up(self) -> None:
        self._is_due = False
        self.catch_up()

    def catch_up(self) -> None:
        """Tell all that is untold; to be called before what observers know is asked for."""
        if not self._untold:
            return
        untold, self._untold = self._untold, []
        for observer in self._to_decisions:
            for what in untold:
                if type(what) is tuple:
                    try:
                        observer.decided(*what)
                    except Exception:  # see the rule above
                        self._fault(observer, "decided")
        for observer in self._to_ends:
            for what in untold:
                if isinstance(what, (Record, Unpaced)):
                    try:
                        observer.ended(what)
                    except Exception:  # see the rule above
                        self._fault(observer, "ended")

    # -- everything else, at once

    def policy_in_force(self, policy: Policy, path: Path | None, reloads: int) -> None:
        self._tell(lambda each: each.policy_in_force(policy, path, reloads), "policy_in_force")

    def policy_refused(self, error: PolicyError) -> None:
        self._tell(lambda each: each.policy_refused(error), "policy_refused")

    def unconcerned(self, passing: Unpaced) -> None:
        """`decided` for those who want to know of what no rule could match: at once, for they may
        want no more of them."""
        for observer in self._to_decisions:
            if observer.wants_unmatched:
                try:
                    observer.decided(passing.flow, passing.exchange, NO_RULE)
                except Exception:  # see the rule above
                    self._fault(observer, "decided")

    @property
    def listen_to_beginnings(self) -> bool:
        """Whether anybody wants to be told of bodies that begin."""
        return bool(self._to_beginnings)

    def began(self, body: BodySnapshot) -> None:
        for observer in self._to_beginnings:
            try:
                observer.began(body)
            except Exception:  # see the rule above
                self._fault(observer, "began")

    def failed(self, what: str) -> None:
        self._tell(lambda each: each.failed(what), "failed")

    def stopped(self) -> None:
        self._tell(lambda each: each.stopped(), "stopped")

    def _tell(self, tell: Callable[[Observer], None], what: str) -> None:
        self.catch_up()  # in the order in which it was so
        for observer in self._all:
            try:
                tell(observer)
            except Exception:  # see the rule above
                self._fault(observer, what)

    def _fault(self, who: object, what: str) -> None:
        """To be called in an `except`."""
        fault = f"{type(who).__name__}.{what}"
        self.faults[fault] += 1
        if self.faults[fault] == 1:
            logger.exception("mitmthrottle: %s failed; said once", fault)
