"""A response that no rule slows, looked at as it passes: for those who watch.

Rule: it is only counted.  Nothing here holds, changes or marks anything; and what it was is worked
out when somebody asks, most of it after its end.
"""

from __future__ import annotations

import time

from mitmproxy import flow as mflow
from mitmproxy import http

from mitmthrottle.policy import Exchange, Rule

from .facts import exchange_of
from .meter import Meter
from .record import Record

LARGE_BYTES = 64 * 1024


class Passing(Meter):
    """One response on its way; `rule` is the one with `pass: true` that matched, if any."""

    __slots__ = (
        "_closed",
        "_elapsed_s",
        "_exchange",
        "_opened",
        "_time",
        "_version",
        "flow",
        "lost",
        "outcome",
        "rule",
    )

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
        self._exchange = exchange
        self._version = version
        self._time = time.time()
        self._elapsed_s = elapsed_s
        self._opened = self._closed = now

    @property
    def exchange(self) -> Exchange:
        """The facts of it."""
        if self._exchange is None:
            self._exchange = exchange_of(self.flow, 0, self._elapsed_s, self._time)
        return self._exchange

    def over(self, now: float) -> Record | Passing:
        """mitmproxy says that the response or its failure is complete: what there is to tell.

        That is itself, to be asked for its record soon, or the record where the flow has a large
        body, which should not be kept for that.
        """
        self._closed = now
        self.outcome = self.lost or "complete"
        if (error := self.flow.error) is not None:
            killed = error.msg == mflow.Error.KILLED_MESSAGE
            self.outcome = "stopped" if killed else self.lost or "origin-gone"
        request, response = self.flow.request.data, self.flow.response
        for body in (request.content, response.data.content if response is not None else None):
            if body is not None and len(body) > LARGE_BYTES:
                return self.record()
        return self

    def record(self) -> Record:
        """What became of it, now that it is over."""
        flow, exchange = self.flow, self.exchange
        sent_bytes = self.sent_bytes
        if not sent_bytes and self.outcome == "complete" and flow.response is not None:
            sent_bytes = len(flow.response.raw_content or b"")  # collected, and sent in one lump
        return Record(
            kind="response",
            direction="down",
            flow_id=flow.id,
            time=exchange.time,
            exchange=exchange,
            rule=self.rule,
            asked_bytes_per_s=None,
            measured_bytes_per_s=self.bytes_per_s,
            sent_bytes=sent_bytes,
            waited_s=0.0,
            duration_s=self._closed - self._opened,
            outcome=self.outcome,
            version=self._version,
        )
