"""One response under a rule: its gate, its pace, its way back to the stream, its outcome.

Rule: an error of ours never stops a response.  It is logged and counted, and the response runs
free.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from mitmproxy import http

from mitmthrottle.pacing import Budget, Claim, Pace
from mitmthrottle.policy import Decision, Exchange, Rule

from . import effects
from .credit import GatedReader, waiting_bytes
from .gate import Gate
from .outcome import Outcome
from .stream import Item, Last, PacedStream
from .wake import Waker

if TYPE_CHECKING:
    from .engine import Engine

CLOGGED_BYTES = 128 * 1024  # what may wait for a client's socket before its pace is held

logger = logging.getLogger(__name__)


class Paced:
    """A response in the hands of the throttle, from its headers to its end."""

    def __init__(
        self,
        engine: Engine,
        flow: http.HTTPFlow,
        exchange: Exchange,
        decision: Decision,
        streamed_anyway: bool,
    ) -> None:
        self.flow = flow
        self.exchange = exchange
        self.parties = effects.Parties.of(exchange, flow.client_conn.id)
        self.rule: Rule | None = None
        self.stream_body = True
        self.waker: Waker | None = None
        self._engine = engine
        self._streamed_anyway = streamed_anyway
        self._too_late = False  # the headers had gone out before the rule was found
        self._own: dict[int, Budget] = {}
        self._stream: PacedStream | None = None
        self.gate: Gate[Last] = Gate(self, None)
        self._settle(decision)

    def __repr__(self) -> str:
        return f"Paced({self.rule.name if self.rule else 'undecided'}, {self.gate})"

    @property
    def rate_bytes_per_s(self) -> float | None:
        return self.gate.pace.rate_bytes_per_s if self.gate.pace else None

    @property
    def blocked(self) -> bool:
        return self.rule is not None and self.rule.then.block is not None

    @property
    def reset(self) -> bool:
        """End the connection instead of answering: asked for, or it is too late to answer."""
        return self.rule is not None and (
            self.rule.then.block == "reset" or (self.blocked and self._too_late)
        )

    @property
    def enough_bytes(self) -> int:
        """So many bytes in the gate that the origin may pause."""
        return waiting_bytes(self.rate_bytes_per_s)

    # -- what the stream calls

    def attach(self, stream: PacedStream) -> None:
        handler = self._engine.handler_of(self.flow.client_conn)
        if handler is None:  # a replayed flow has no client to be slow for
            self.gate.repace(None)
            self.gate.decide = None
            return
        self._stream = stream
        self.waker = Waker(stream, handler)
        if self.gate.pace is not None and self.gate.pace.claim is not None:
            self.gate.pace.claim.owner = self.waker
        self._engine.started(self)

    def woken(self) -> None:
        if self.waker is not None and self.waker.granted:
            self.waker.granted = False
            self.gate.granted()

    def learn(self) -> None:
        """Decide, where only the body could tell what the response is."""
        try:
            self.gate.learn()
        except Exception:  # fail open: see the rule above
            self._engine.failed(self.flow)
            self.gate.decide = None
            self.gate.needs_head = False

    def release(self) -> list[Item]:
        try:
            return self.gate.release()
        except Exception:  # fail open: see the rule above
            self._engine.failed(self.flow)
            return self.release_all()

    def release_all(self) -> list[Item]:
        """Everything that is held, at once: the origin is gone, or we have failed."""
        self._withdraw()
        return self.gate.release_all()

    def reader(self) -> GatedReader | None:
        if self._stream is None:
            return None
        reader = self._engine.reader_of(self._stream)
        if reader is not None:
            reader.hold_at_most(self.enough_bytes)
        return reader

    def ended(self, outcome: str) -> None:
        self._withdraw()
        if self.waker is not None:
            self.waker.close()
        self._engine.ended(self, outcome)

    # -- what the gate calls

    def now(self) -> float:
        return self._engine.now()

    def wake_at(self, when: float) -> None:
        if self.waker is not None:
            self._engine.clock.wake_at(when, self.waker)

    def submit(self, pace: Pace, size: int) -> bool:
        if pace.claim is None:
            return True
        if self._engine.schedule.submit(pace.claim, size, self.now()):
            return True
        self._engine.clock.submitted()
        return False

    def piece_bytes(self, pace: Pace) -> int:
        return pace.piece_bytes(self._engine.paced_responses)

    def client_is_clogged(self) -> bool:
        """The client does not read as fast as it may: what it has not read waits in the proxy."""
        if self._stream is None:
            return False
        return (
            self._stream.unsent_bytes() > CLOGGED_BYTES
            or self._engine.unsent_bytes(self.flow.client_conn) > CLOGGED_BYTES
        )

    # -- deciding, again where the body has to tell

    def _settle(self, decision: Decision) -> None:
        gate = self.gate
        gate.needs_head = decision.needs_head
        gate.ask_at_bytes = decision.size_step
        gate.decide = self._decide if decision.needs_head or decision.size_step else None
        if decision.rule is not None and not decision.rule.then.pass_:
            self.follow(decision.rule, self._engine.seed)

    def _decide(self, head: bytes | None, complete: bool) -> None:
        known = replace(self.exchange, seen=self.gate.seen_bytes, complete=complete)
        if head is not None:
            known = replace(known, head=head)
        self.exchange = known
        self._settle(self._engine.decide(known))
        if self.rule is None and self.gate.decide is None and not self.gate.head_sent:
            self.stream_body = self._streamed_anyway

    def follow(self, rule: Rule, seed: str) -> None:
        """Go on as this rule says; called again when a new policy has changed the rule."""
        first = self.rule is None
        self.rule = rule
        now = self.now()
        if first:
            delay = effects.delay_s(rule, seed, self.exchange.serial)
            self._engine.matched(self.flow, rule)
            self._too_late = self.gate.head_sent
            if self.blocked and not self._too_late:
                self._engine.block(self.flow, rule)
        else:
            delay = self.gate.pace.delay_s if self.gate.pace else 0.0
        budgets = effects.budgets_for(rule, self.parties, self._engine.shared, self._own, now)
        claim = self.gate.pace.claim if self.gate.pace else None
        if claim is not None and claim.budgets == budgets:
            for budget in budgets:
                self._engine.schedule.touch(budget)
            return
        self._withdraw()
        claim = Claim(budgets, self.waker) if budgets else None
        self.gate.repace(Pace(delay, claim))

    def run_free(self) -> None:
        """The rule is gone: what is held goes out at once, the rest as it comes."""
        self._withdraw()
        self.gate.repace(None)

    def outcome(self, outcome: str) -> Outcome:
        if self.rule is None:
            raise ValueError("no rule, no outcome")
        return Outcome(
            rule=self.rule,
            asked_bytes_per_s=self._asked_bytes_per_s(),
            measured_bytes_per_s=self.gate.measured_bytes_per_s,
            sent_bytes=self.gate.sent_bytes,
            waited_s=self.gate.waited_s,
            outcome="blocked" if self.blocked and outcome == "complete" else outcome,
        )

    def _asked_bytes_per_s(self) -> float | None:
        limits = [limit.limit_bytes_per_s for limit in self.rule.then.rate] if self.rule else []
        return min(limits, default=None)

    def _withdraw(self) -> None:
        claim = self.gate.pace.claim if self.gate.pace else None
        if claim is not None:
            self._engine.schedule.withdraw(claim, self.now())
            self._engine.clock.submitted()
