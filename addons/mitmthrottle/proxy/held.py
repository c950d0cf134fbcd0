"""One body in the hands of the throttle: its gate, its pace, its way back to its stream.

Rule: an error of ours never stops a body.  It is logged and counted, and the body runs free.

`PacedResponse` (paced.py), `PacedUpload` (upload.py) and `PacedDirection` (opaque.py) say what a
rule means for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from mitmproxy.connection import Client, Connection
from mitmproxy.flow import Flow
from mitmproxy.proxy import layer

from mitmthrottle.pacing import (
    MAX_PIECE_BYTES,
    Budget,
    Claim,
    Pace,
    Quota,
    Stalls,
    Timeline,
)
from mitmthrottle.policy import Exchange, Rule, Then
from mitmthrottle.policy import Quota as QuotaEffect

from . import effects
from .credit import GatedReader, waiting_bytes
from .gate import Gate, Item
from .record import Direction, Record, RecordKind
from .wake import Waker

if TYPE_CHECKING:
    from .engine import Engine

CLOGGED_BYTES = 128 * 1024  # what may wait for a receiver's socket before its pace is held

# A quarter of the smallest window: HTTP/2 tells the sender of credit by half windows anyway.
CREDIT_BYTES = 16 * 1024


class Held:
    """A request's or a response's body, from its headers to its end."""

    kind: RecordKind = "response"
    direction: Direction = "down"

    def __init__(
        self, engine: Engine, client: Client, exchange: Exchange, flow: Flow | None
    ) -> None:
        self.engine = engine
        self.client = client
        self.flow = flow
        self.version = engine.version  # of the policy that decided
        self.exchange = exchange
        self.parties = effects.Parties.of(exchange, client.id)
        self.rule: Rule | None = None
        self.gate: Gate = Gate(self)
        self.waker: Waker | None = None
        self.quota: Quota | None = None
        self.credits = False  # its sender's HTTP/2 connection waits for our credit
        self._unsent_bytes: Callable[[], int] | None = None
        self._uncredited_bytes = 0
        self._own: dict[int, Budget] = {}
        self._follow_again = math.inf  # when the rule will say something else
        self._began = engine.now()

    def __repr__(self) -> str:
        rule = self.rule.name if self.rule else "undecided"
        return f"{type(self).__name__}({rule}, {self.gate})"

    @property
    def subject(self) -> str:
        """What this is, for a log."""
        return f"{self.exchange.method} {self.exchange.host}{self.exchange.path}"

    @property
    def rate_bytes_per_s(self) -> float | None:
        """What it may have now; None: no limit."""
        if self.quota is not None and self._quota_left_bytes():
            return None
        return self.gate.pace.rate_bytes_per_s if self.gate.pace else None

    @property
    def window_bytes_per_s(self) -> float:
        """The rate that its sender's window has to bear."""
        rate = self.rate_bytes_per_s
        return math.inf if rate is None else rate

    @property
    def enough_bytes(self) -> int:
        """So many bytes in the gate that the sender may pause."""
        return waiting_bytes(self.rate_bytes_per_s)

    # -- what the stream calls

    def attach(self, place: layer.Layer) -> None:
        """`place` is the layer that will be woken when something may pass."""
        handler = self.engine.connections.handler_of(self.client)
        if handler is None:  # a replayed flow has no client to be slow for
            self.gate.run_free()
            return
        self.waker = Waker(place, handler)
        if self.gate.pace is not None and self.gate.pace.claim is not None:
            self.gate.pace.claim.owner = self.waker
        if self._follow_again < math.inf:  # asked for before there was anybody to wake
            self.wake_at(self._follow_again)
        self.engine.begun(self)

    def woken(self) -> None:
        if self.waker is not None and self.waker.granted:
            self.waker.granted = False
            self.gate.granted()
        if self.now() >= self._follow_again and self.rule is not None:
            self.follow(self.rule)

    def release(self) -> list[Item]:
        try:
            return self.gate.release()
        except Exception:  # fail open: see the rule above
            self.engine.failed(self.subject)
            return self.release_all()

    def release_all(self) -> list[Item]:
        """Everything that is held, at once: the sender is gone, or we have failed."""
        self._withdraw()
        return self.gate.release_all()

    def credit_for(self, size: int) -> int:
        """Bytes of credit to give now that `size` more have gone out: not for every piece."""
        self._uncredited_bytes += size
        if self._uncredited_bytes < CREDIT_BYTES:
            return 0
        credit, self._uncredited_bytes = self._uncredited_bytes, 0
        return credit

    def hold_reader(self, reader: GatedReader | None) -> None:
        if reader is not None:
            reader.hold_at_most(self.enough_bytes)

    def ended(self, outcome: str) -> None:
        self._withdraw()
        if self.waker is not None:
            self.waker.close()
        self.engine.ended(self, outcome)

    def record(self, outcome: str) -> Record:
        """What became of it, now that it has ended like that."""
        gate = self.gate
        return Record(
            kind=self.kind,
            direction=self.direction,
            flow_id=self.flow_id,
            time=self.exchange.time,
            exchange=self.exchange,
            rule=self.rule,
            asked_bytes_per_s=self.asked_bytes_per_s,
            measured_bytes_per_s=gate.measured_bytes_per_s,
            sent_bytes=gate.sent_bytes,
            waited_s=gate.waited_s,
            duration_s=gate.opened_s_ago,
            outcome=outcome,
            version=self.version,
        )

    @property
    def flow_id(self) -> str:
        """mitmproxy's id of the flow; of the client connection where there is no flow."""
        return self.flow.id if self.flow is not None else self.client.id

    @property
    def asked_bytes_per_s(self) -> float | None:
        """The lowest rate that its rule names now, shared or not; None where it names none."""
        raise NotImplementedError

    # -- what the gate calls

    def now(self) -> float:
        return self.engine.now()

    def wake_at(self, when: float) -> None:
        if self.waker is not None:
            self.engine.clock.wake_at(when, self.waker)

    def starting(self) -> None:
        now = self.now()
        for budget in self._own.values():
            budget.start_afresh(now)

    def submit(self, pace: Pace, size: int) -> bool:
        if self.quota is not None and self.quota.take(size, self._period()):
            return True
        if pace.claim is None:
            return True
        if self.engine.schedule.submit(pace.claim, size, self.now()):
            return True
        self.engine.clock.submitted()
        return False

    def piece_bytes(self, pace: Pace) -> int:
        if self.quota is not None and (at_hand := self.quota.at_hand_bytes(self._period())):
            return min(at_hand, MAX_PIECE_BYTES)
        return pace.piece_bytes(self.engine.paced_responses)

    def is_clogged(self) -> bool:
        """The receiver does not take what it may have: it would wait in the proxy."""
        if self._unsent_bytes is None:
            self._unsent_bytes = self.engine.connections.unsent_bytes(self.client, self.receiver())
        return self._unsent_bytes() > CLOGGED_BYTES

    def receiver(self) -> Connection:
        raise NotImplementedError

    # -- what the rule says

    def follow(self, rule: Rule) -> None:
        """Go on as this rule says now: it was found, it has changed, or its next stage began."""
        raise NotImplementedError

    def follow_again(self) -> None:
        """What the rule says may have changed with the clock that it counts from."""
        if self.rule is not None:
            try:
                self.follow(self.rule)
            except Exception:  # fail open: see the rule above
                self.engine.failed(self.subject)
                self.run_free()

    def run_free(self) -> None:
        """The rule is gone: what is held goes out at once, the rest as it comes."""
        self._withdraw()
        self.quota = None
        self._follow_again = math.inf
        self.gate.run_free()

    def _says_now(self, rule: Rule) -> Then:
        """What the rule says at this moment; when that changes, it is followed again."""
        counted_from = self._began if rule.then.from_ == "response" else self.engine.policy_started
        then, until = rule.then.at(self.now() - counted_from)
        self._follow_again = counted_from + until
        if self._follow_again < math.inf:
            self.wake_at(self._follow_again)
        if then.quota is not None:
            self.quota = self._quota_of(rule.name, then.quota)
        return then

    def _pass_places_of(self, then: Then) -> None:
        """Stalls and a cut, which are a body's own."""
        if then.stall is not None or then.cut is not None:
            stall = then.stall
            stalls = Stalls(stall.after_bytes, stall.for_s, stall.every_bytes) if stall else None
            self.gate.timeline = Timeline(stalls, then.cut.after_bytes if then.cut else None)

    def _quota_of(self, rule_name: str, quota: QuotaEffect) -> Quota:
        if quota.per == "response":
            return self.quota or Quota(quota.free_bytes)
        period = quota.window(self.engine.unix_time(), self.engine.policy_started_unix)
        return self.engine.quotas.get(
            (rule_name, quota.per, quota.every),
            self.parties.behind(quota.per),
            quota.free_bytes,
            period,
            keep_s=effects.remembered_s(quota),
            here_only=quota.per == "connection",
        )

    def _draw_from(self, budgets: tuple[Budget, ...], delay_s: float) -> None:
        claim = self.gate.pace.claim if self.gate.pace else None
        if claim is not None and claim.budgets == budgets:
            for budget in budgets:
                self.engine.schedule.touch(budget)
            return
        self._withdraw()
        claim = Claim(budgets, self.waker) if budgets else None
        self.gate.repace(Pace(delay_s, claim))

    def _withdraw(self) -> None:
        claim = self.gate.pace.claim if self.gate.pace else None
        if claim is not None:
            self.engine.schedule.withdraw(claim, self.now())
            self.engine.clock.submitted()

    def _quota_left_bytes(self) -> int:
        return self.quota.left_bytes(self._period()) if self.quota is not None else 0

    def _period(self) -> int | None:
        quota = self.rule.then.quota if self.rule is not None else None
        return (
            quota.window(self.engine.unix_time(), self.engine.policy_started_unix)
            if quota
            else None
        )
