"""A response under a rule, from its headers to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import layer

from mitmthrottle.policy import Decision, Exchange, RequestLimit, Rule, Then

from . import effects, server_timing
from .held import CLOGGED_BYTES, Held
from .record import Record
from .stream import PacedStream

if TYPE_CHECKING:
    from .engine import Engine


class PacedResponse(Held):
    """A response in the hands of the throttle; perhaps one that is not decided yet."""

    def __init__(
        self,
        engine: Engine,
        flow: http.HTTPFlow,
        exchange: Exchange,
        decision: Decision,
        streamed_anyway: bool,
    ) -> None:
        super().__init__(engine, flow.client_conn, exchange, flow)
        self.flow: http.HTTPFlow = flow
        self.stream: PacedStream | None = None
        self.stream_body = True  # it would be streamed to the client without us too
        self._streamed_anyway = streamed_anyway
        self._then: Then | None = None  # what the rule says now
        self._too_late = False  # the headers had gone out before the rule was found
        self.answer_changed = False  # our own answer is another one than the stream holds
        self._left_alone_by: Rule | None = None  # an exception that only the body told of
        self._turn: asyncio.Task[None] | None = None
        self._turn_for: tuple[RequestLimit, ...] = ()
        self._settle(decision)

    @property
    def blocked(self) -> bool:
        """The flow's response is ours: the origin is not listened to any more."""
        return self._then is not None and self._then.block is not None

    @property
    def reset(self) -> bool:
        """End the connection instead of answering: asked for, or it is too late to answer."""
        return self._then is not None and (
            self._then.block == "reset" or (self.blocked and self._too_late)
        )

    @property
    def cut_resets(self) -> bool:
        cut = self._then.cut if self._then else None
        return cut is not None and cut.how == "reset"

    def learn(self) -> None:
        """Decide, where only the body could tell what the response is."""
        try:
            self.gate.learn()
        except Exception:  # fail open: see held.py
            self.engine.failed(self.subject)
            self.run_free()

    def is_clogged(self) -> bool:
        return super().is_clogged() or (
            self.stream is not None and self.stream.unsent_bytes(self.client) > CLOGGED_BYTES
        )

    def receiver(self) -> Connection:
        return self.client

    def attach(self, place: layer.Layer) -> None:
        self.stream = place if isinstance(place, PacedStream) else None
        super().attach(place)

    def ended(self, outcome: str) -> None:
        if self._turn is not None:
            self._turn.cancel()
        super().ended(outcome)

    def record(self, outcome: str) -> Record:
        record = super().record("blocked" if self.blocked and outcome == "complete" else outcome)
        return record._replace(rule=self._left_alone_by) if self._left_alone_by else record

    @property
    def asked_bytes_per_s(self) -> float | None:
        return effects.lowest(self._then.rate) if self._then else None

    def head_goes_out(self) -> None:
        """The headers are about to be sent: the last moment to say something in them."""
        if self.engine.server_timing and self.rule is not None and self.flow.response is not None:
            server_timing.add_start(
                self.flow.response.headers,
                self.rule.name,
                self.asked_bytes_per_s,
                self.gate.opened_s_ago,
            )

    def end_goes_out(self) -> None:
        """The body has gone out; HTTP/2 and HTTP/3 may still say something behind it."""
        response = self.flow.response
        if (
            self.engine.server_timing
            and self.rule is not None
            and response is not None
            and self.gate.sent_bytes
            and self.client.alpn in (b"h2", b"h3")
        ):
            record = self.record("complete")
            response.trailers = server_timing.trailers_with_end(response.trailers, record)

    # -- deciding, again where the body has to tell

    def _settle(self, decision: Decision) -> None:
        gate = self.gate
        gate.needs_head = decision.needs_head
        gate.ask_at_bytes = decision.size_step
        gate.decide = self._decide if decision.needs_head or decision.size_step else None
        if decision.rule is not None and decision.rule.then.pass_:
            self._left_alone_by = decision.rule
        elif decision.rule is not None:
            self.follow(decision.rule)

    def _decide(self, head: bytes | None, complete: bool) -> None:
        known = self.exchange._replace(
            seen=self.gate.seen_bytes,
            complete=complete,
            elapsed_s=self.engine.elapsed_s,
        )
        if head is not None:
            known = known._replace(head=head)
        self.exchange = known
        decision = self.engine.decide(known)
        self._settle(decision)
        self.engine.reports.decided(self.flow, known, decision)
        if self.rule is None and self.gate.decide is None and not self.gate.head_sent:
            self.stream_body = self._streamed_anyway

    def follow(self, rule: Rule) -> None:
        first = self.rule is None
        self.rule = rule
        then = self._says_now(rule)
        if first and (store := self.engine.store) and store.blocks and effects.shares(then):
            then = then.model_copy(update={"block": 503, "requests": (), "quota": None})
            self.quota = None
        if first:
            self._start(rule, then)
            if self._quota_left_bytes():
                then = then.model_copy(update={"block": None, "delay": None})
        elif not self.gate.head_sent:
            self._take_turn(rule, then)
        before, self._then = self._then, then
        was_blocked = before is not None and before.block is not None
        self._too_late = self._too_late or (self.gate.head_sent and not was_blocked)
        if self.blocked and not self._too_late and (before is None or before.block != then.block):
            self.engine.block(self.flow, rule, then)
            self.answer_changed = was_blocked
        if first or not self.gate.head_sent:
            delay = effects.delay_s(then, self.engine.seed, rule.name, self.exchange.serial)
        else:
            delay = self.gate.pace.delay_s if self.gate.pace else 0.0
        limits = effects.Limits.of(rule.name, then)
        self._draw_from(
            effects.budgets_for(limits, self.parties, self.engine.shared, self._own, self.now()),
            delay,
        )

    def _start(self, rule: Rule, then: Then) -> None:
        """What happens once, when the rule is found."""
        self.engine.reports.marks.begun(self.flow, rule)
        self._pass_places_of(then)
        self._take_turn(rule, then)

    def _take_turn(self, rule: Rule, then: Then) -> None:
        """Wait in the line of `requests`; in another one, or none, where the rule has changed."""
        if then.requests == self._turn_for or self.gate.head_sent:
            return
        self._turn_for = then.requests
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if then.requests:
            self.gate.in_line = True
            self._turn = self.engine.turns.take(
                rule.name, then.requests, self.parties, self._turn_came
            )
        elif self.gate.in_line:
            self._turn_came()

    def _turn_came(self) -> None:
        self.gate.turn_has_come()
        self.wake_at(self.now())
