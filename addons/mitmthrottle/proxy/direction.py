"""One direction of a connection that is relayed as it is: opaque TLS, plain TCP, WebSocket.

Rule: a rule's rate holds each way, with budgets of its own each way; its `delay`, stalls and cut
are for what comes down.  Nobody can tell a request from a response in there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy.connection import Connection
from mitmproxy.flow import Flow
from mitmproxy.proxy import context

from mitmthrottle.policy import Exchange, Rule, Then

from . import effects
from .gate import Item
from .held import Held
from .record import Direction

if TYPE_CHECKING:
    from .engine import Engine


class PacedDirection(Held):
    """The bytes from one peer to the other."""

    def __init__(
        self,
        engine: Engine,
        ctx: context.Context,
        exchange: Exchange,
        rule: Rule,
        direction: Direction,
        flow: Flow | None,
    ) -> None:
        super().__init__(engine, ctx.client, exchange, flow)
        self.direction = direction
        self.kind = "opaque" if exchange.opaque else "websocket"
        # The answer to a WebSocket's handshake has had its delay already.
        self._first_bytes_wait = exchange.opaque and direction == "down"
        self.then = rule.then
        self._within_quota = False  # it has begun before its quota was used up
        self._receiver: Connection = ctx.client if direction == "down" else ctx.server
        self.follow(rule)
        if direction == "down":
            self._pass_places_of(self.then)

    def receiver(self) -> Connection:
        return self._receiver

    def release(self) -> list[Item]:
        """It begins with its first byte: waiting for that has not earned it a burst."""
        return [] if self.gate.is_empty and not self.gate.head_sent else super().release()

    @property
    def asked_bytes_per_s(self) -> float | None:
        return effects.lowest(self._limits(self.rule, self.then).rate) if self.rule else None

    def follow(self, rule: Rule) -> None:
        first = self.rule is None
        self.rule = rule
        self.then = self._says_now(rule)
        if first:
            self._within_quota = self._quota_left_bytes() > 0
        if self._within_quota:
            self.then = self.then.model_copy(update={"block": None, "delay": None})
        limits = self._limits(rule, self.then)
        if first and self._first_bytes_wait:
            seed = (self.engine.seed, rule.name, self.exchange.serial)
            delay = effects.delay_s(self.then, *seed)
        else:
            delay = self.gate.pace.delay_s if self.gate.pace else 0.0
        self._draw_from(
            effects.budgets_for(limits, self.parties, self.engine.shared, self._own, self.now()),
            delay,
        )

    def _limits(self, rule: Rule, then: Then) -> effects.Limits:
        """Up: `upload` if the rule has one, else as down: nobody can tell which is which."""
        if self.direction == "down":
            return effects.Limits.of(rule.name, then)
        upload = then.upload
        rate, burst = (upload.rate, upload.burst) if upload else (then.rate, then.burst)
        return effects.Limits((rule.name, "upload"), rate, burst, then.as_ == "policer")
