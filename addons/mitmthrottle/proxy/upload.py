"""A request's body under a rule's `upload`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import layer

from mitmthrottle.policy import Exchange, Rule, Upload

from . import effects
from .held import CLOGGED_BYTES, Held
from .stream import PacedStream

if TYPE_CHECKING:
    from .engine import Engine


class PacedUpload(Held):
    """A request body on its way to the origin."""

    kind = "upload"
    direction = "up"

    def __init__(self, engine: Engine, flow: http.HTTPFlow, exchange: Exchange, rule: Rule) -> None:
        super().__init__(engine, flow.client_conn, exchange, flow)
        self.flow: http.HTTPFlow = flow
        self.stream: PacedStream | None = None
        self.follow(rule)

    def is_clogged(self) -> bool:
        if self.stream is None or not self.gate.head_sent:
            return False  # there is no connection yet
        return super().is_clogged() or self.stream.unsent_bytes(self.receiver()) > CLOGGED_BYTES

    def receiver(self) -> Connection:
        return self.stream.context.server if self.stream else self.flow.server_conn

    def attach(self, place: layer.Layer) -> None:
        self.stream = place if isinstance(place, PacedStream) else None
        super().attach(place)

    @property
    def asked_bytes_per_s(self) -> float | None:
        upload = self.rule.then.upload if self.rule else None
        return effects.lowest(upload.rate) if upload else None

    def follow(self, rule: Rule) -> None:
        upload = rule.then.upload
        if upload is None:
            self.run_free()
            return
        delay = self.gate.pace.delay_s if self.gate.pace else self._delay_s(rule, upload)
        self.rule = rule
        limits = effects.Limits(
            (rule.name, "upload"), upload.rate, upload.burst, rule.then.as_ == "policer"
        )
        budgets = effects.budgets_for(
            limits, self.parties, self.engine.shared, self._own, self.now()
        )
        self._draw_from(budgets, delay)

    def _delay_s(self, rule: Rule, upload: Upload) -> float:
        seed = (self.engine.seed, rule.name, "upload", self.exchange.serial)
        return effects.sampled_s(upload.delay, *seed)
