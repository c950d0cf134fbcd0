"""A response that no rule slows, looked at as it passes: for those who watch.

Rule: it is only counted.  Nothing here holds, changes or marks anything; and what it was is worked
out when somebody asks, most of it after its end.
"""

from __future__ import annotations

import time

from mitmproxy import flow as mflow
from mitmproxy import http

from mitmthrottle.policy import Exchange, Kind, Rule
from mitmthrottle.policy.facts import kind_of
from mitmthrottle.proxy.bodies.meter import Meter
from mitmthrottle.proxy.bodies.record import Direction, Record, RecordKind
from mitmthrottle.proxy.facts import exchange_of

LARGE_BYTES = 64 * 1024


class Unpaced(Meter):
    """One response on its way; `rule` is the one with `pass: true` that matched, if any.

    Once it is over it can be read like its `Record`, which is not made for those who need it at
    once only.
    """

    __slots__ = (
        "_closed",
        "_elapsed_s",
        "_exchange",
        "_opened",
        "flow",
        "lost",
        "outcome",
        "rule",
        "time",
        "version",
    )
    kind: RecordKind = "response"
    direction: Direction = "down"
    asked_bytes_per_s = None
    waited_s = 0.0

    def __init__(
        self,
        flow: http.HTTPFlow,
        exchange: Exchange | None,
        rule: Rule | None,
        version: str,
        now: float,
        elapsed_s: float,
    ) -> None:
        """`elapsed_s` since the policy's start; `exchange` where it is known already."""
        super().__init__()
        self.flow = flow
        self.rule = rule
        self.lost = ""  # client-gone or origin-gone, once one of them is
        self.outcome = ""  # as in a record, once it is over
        self.version = version
        self.time = time.time() if exchange is None else exchange.time
        self._exchange = exchange
        self._elapsed_s = elapsed_s
        self._opened = self._closed = now

    @property
    def exchange(self) -> Exchange:
        """The facts of it."""
        if self._exchange is None:
            self._exchange = exchange_of(self.flow, 0, self._elapsed_s, self.time)
        return self._exchange

    @property
    def flow_id(self) -> str:
        return self.flow.id

    @property
    def duration_s(self) -> float:
        return self._closed - self._opened

    @property
    def measured_bytes_per_s(self) -> float | None:
        return self.bytes_per_s

    @property
    def content(self) -> Kind | None:
        return kind_of(self.exchange)

    def over(self, now: float) -> Record | Unpaced:
        """mitmproxy says that the response or its failure is complete: what there is to tell.

        That is itself, to be told of soon, or the record where the flow has a large body, which
        should not be kept for that.
        """
        self._closed = now
        self.outcome = self.lost or "complete"
        if (error := self.flow.error) is not None:
            killed = error.msg == mflow.Error.KILLED_MESSAGE
            self.outcome = "stopped" if killed else self.lost or "origin-gone"
        request, response = self.flow.request.data, self.flow.response
        body = response.data.content if response is not None else None
        if body is not None:
            on_the_wire = self.flow.request.data.method != b"HEAD"
            if on_the_wire and not self.sent_bytes and self.outcome == "complete":
                self.sent_bytes = len(body)  # collected, and sent in one lump
            if len(body) > LARGE_BYTES:
                return self.record()
        if request.content is not None and len(request.content) > LARGE_BYTES:
            return self.record()
        return self

    def record(self) -> Record:
        """What became of it, now that it is over: to be kept."""
        return Record(
            kind=self.kind,
            direction=self.direction,
            flow_id=self.flow_id,
            time=self.time,
            exchange=self.exchange,
            rule=self.rule,
            asked_bytes_per_s=self.asked_bytes_per_s,
            measured_bytes_per_s=self.measured_bytes_per_s,
            sent_bytes=self.sent_bytes,
            waited_s=self.waited_s,
            duration_s=self.duration_s,
            outcome=self.outcome,
            version=self.version,
        )
