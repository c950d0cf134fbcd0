"""A stream whose response is only looked at: its bytes are counted as they pass, for those who
watch.

Rule: nothing is held, and a stream that nobody looks at takes no further step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers.http import _events as http_events

from .around import Surrounded

if TYPE_CHECKING:
    from .passing import Passing


class CountedStream(Surrounded):
    """Tells a `Passing` of what goes by."""

    _passing: Passing | None = None  # of the class: most streams never set one

    def look_at_response(self) -> None:
        """Its headers are there, and it is in nobody's hands."""
        passing = self.engine.reports.passing
        self._passing = passing.get(self.flow.id) if passing else None
        if self._passing and self.server_state == self.state_stream_response_body:
            self.server_state = self._state_counted_response_body

    def _state_counted_response_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._passing is not None and isinstance(event, http_events.ResponseData):
            self._passing.passed(len(event.data), self.engine.now())
        return self.state_stream_response_body(event)  # type: ignore[no-any-return]  # mitmproxy's decorator loses the type

    def handle_protocol_error(
        self, event: http_events.RequestProtocolError | http_events.ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        if self._passing is not None:
            by_client = isinstance(event, http_events.RequestProtocolError)
            self._passing.lost = "client-gone" if by_client else "origin-gone"
        yield from super().handle_protocol_error(event)
