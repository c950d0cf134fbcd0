"""A response that no rule slows, looked at as it passes: for those who watch.

Rule: it is only counted.  Nothing here holds, changes or marks anything.
"""

from __future__ import annotations

from mitmproxy import flow as mflow
from mitmproxy import http

from mitmthrottle.policy import Exchange, Rule

from .meter import Meter
from .record import Record


class Passing(Meter):
    """One response on its way; `rule` is the one with `pass: true` that matched, if any."""

    __slots__ = ("_exchange", "_flow", "_opened", "_rule", "_version", "lost")

    def __init__(
        self, flow: http.HTTPFlow, exchange: Exchange, rule: Rule | None, version: str, now: float
    ) -> None:
        super().__init__()
        self.lost = ""  # client-gone or origin-gone, once one of them is
        self._flow = flow
        self._exchange = exchange
        self._rule = rule
        self._version = version
        self._opened = now

    def record(self, now: float) -> Record:
        """To be called when mitmproxy says that the response or its failure is complete."""
        error, response = self._flow.error, self._flow.response
        sent_bytes = self.sent_bytes
        if not sent_bytes and not error and response is not None and response.raw_content:
            sent_bytes = len(response.raw_content)  # collected, and sent in one lump now
        killed = error is not None and error.msg == mflow.Error.KILLED_MESSAGE
        return Record(
            kind="response",
            direction="down",
            flow_id=self._flow.id,
            time=self._exchange.time,
            exchange=self._exchange,
            rule=self._rule,
            asked_bytes_per_s=None,
            measured_bytes_per_s=self.bytes_per_s,
            sent_bytes=sent_bytes,
            waited_s=0.0,
            duration_s=now - self._opened,
            outcome="stopped" if killed else self.lost or ("origin-gone" if error else "complete"),
            version=self._version,
        )
