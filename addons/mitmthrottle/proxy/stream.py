"""mitmproxy's HTTP stream with a gate before each body that is paced.

Rule: this class moves events and knows nothing of rules or rates.  It holds back what comes from
one side and hands it to mitmproxy's own state machine piece by piece, so that streaming callbacks,
stored bodies, trailers and hooks work as they always do.

    origin -> [gate] -> HttpStream's states -> client      a response
    client -> [gate] -> HttpStream's states -> origin      a request with an `upload` rule

What ends the wait: the gate has let everything out; the receiver is gone (what is held is
dropped); the sender is gone (what is held goes out at once, nothing is lost); the throttle is
(likewise).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy import flow as mflow
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _events as http_events
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook

from .counted import CountedStream
from .credit import SMALL_BYTES, Admit, Credit, GatedReader
from .gate import Item, Mark

if TYPE_CHECKING:
    from .held import Held
    from .paced import PacedResponse
    from .upload import PacedUpload

END_OF_MESSAGE = (http_events.RequestEndOfMessage, http_events.ResponseEndOfMessage)
AFTER_BODY = (
    *END_OF_MESSAGE,
    http_events.RequestTrailers,
    http_events.ResponseTrailers,
)
BODY_FROM_ORIGIN = (
    http_events.ResponseData,
    http_events.ResponseTrailers,
    http_events.ResponseEndOfMessage,
)
BODY_FROM_CLIENT = (
    http_events.RequestData,
    http_events.RequestTrailers,
    http_events.RequestEndOfMessage,
)
FROM_ORIGIN = (*BODY_FROM_ORIGIN, http_events.ResponseProtocolError)


class PacedStream(CountedStream):
    """One request and its response, each through a gate if a rule says so."""

    # Of the class until they are set: most streams never set one.
    response: PacedResponse | None = None
    upload: PacedUpload | None = None
    _made = False  # the response is not the origin's
    _origin_reader: GatedReader | None = None
    _client_reader: GatedReader | None = None

    # -- where mitmproxy's states meet us: where there is nothing for us to do, its own generator
    # is given back, for one of ours around it costs everybody

    def state_wait_for_request_headers(
        self, event: http_events.RequestHeaders
    ) -> layer.CommandGenerator[None]:
        if event.end_stream:
            return super().state_wait_for_request_headers(event)  # type: ignore[no-any-return]  # mitmproxy's decorator loses the type
        return self._request_with_body(event)

    def _request_with_body(self, event: http_events.RequestHeaders) -> layer.CommandGenerator[None]:
        yield from super().state_wait_for_request_headers(event)
        if self.upload is None and self.credits(self.context.client):
            yield http.SendHttp(Admit(self.stream_id, None), self.context.client)

    def start_request_stream(self) -> layer.CommandGenerator[None]:
        upload = self.engine.take_upload(self.flow)
        if upload is None:
            return super().start_request_stream()
        return self._start_upload(upload)

    def _start_upload(self, upload: PacedUpload) -> layer.CommandGenerator[None]:
        self.upload = upload
        self._client_reader = self.reader(self.context.client)
        upload.credits = self.credits(self.context.client)
        self._begin(upload)
        self.client_state = self.state_stream_request_body  # its start waits for its turn
        if upload.credits:
            admit = Admit(self.stream_id, upload.window_bytes_per_s)
            yield http.SendHttp(admit, self.context.client)
        yield from self._let_out()

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        if not self.engine.concerns(self.flow):
            return super().make_server_connection()
        return self._connect_carefully()

    def _connect_carefully(self) -> layer.CommandGenerator[bool]:
        connected = yield from super().make_server_connection()
        if connected:
            if reader := self.reader(self.context.server):
                reader.hold_at_most(SMALL_BYTES)  # until the response's headers tell
                self.engine.connections.careful.add(reader)
            else:
                self._read_at_ease()  # HTTP/2: windows hold its streams, not the reader
        return connected

    def _read_at_ease(self) -> None:
        careful = self.engine.connections.careful
        if not careful:
            return
        reader = self.gated_reader(self.context.server)
        if reader is not None and reader in careful:
            careful.discard(reader)
            reader.hold_at_most(None)

    def state_wait_for_response_headers(
        self, event: http_events.ResponseHeaders
    ) -> layer.CommandGenerator[None]:
        yield from super().state_wait_for_response_headers(event)
        if self.response is None:  # not streamed: no body, or killed
            self._begin_response()
        if self.server_state == self.state_errored:
            self._end_all("stopped")  # killed by somebody else
        if self.response is None:
            self.look_at_response()
            self._read_at_ease()
            if not event.end_stream and self.credits(self.context.server):
                yield http.SendHttp(Admit(self.stream_id, None), self.context.server)
            return
        if self.response.credits:
            admit = Admit(self.stream_id, self.response.window_bytes_per_s)
            yield http.SendHttp(admit, self.context.server)
        yield from self._let_out()

    def start_response_stream(self) -> layer.CommandGenerator[None]:
        self._begin_response()
        if self.response is None:
            return super().start_response_stream()
        # The headers wait for their turn, see `_pass_head`.
        self.server_state = self.state_stream_response_body
        return _nothing()

    def send_response(self, already_streamed: bool = False) -> layer.CommandGenerator[None]:
        if not already_streamed and self.response is None:
            self._begin_response()
            if self.response is not None:
                # An addon made this response: pace it like one that came from an origin.
                self._use_made_response(self.response)
                return self._let_out()
        return super().send_response(already_streamed)  # type: ignore[no-any-return]  # untyped there

    # -- events

    def _begin_response(self) -> None:
        self.response = self.engine.take(self.flow)
        if self.response is not None:
            if reader := self.reader(self.context.server):
                self._origin_reader = reader
                self.engine.connections.careful.discard(reader)
                self.response.hold_reader(reader)
            self.response.credits = self.credits(self.context.server)
            self._begin(self.response)

    def _begin(self, held: Held) -> None:
        held.attach(self)
        # As mitmproxy does for upgraded connections: from now on, events come here.
        self._handle_event = self._handle_gated

    def _handle_gated(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            for held in (self.response, self.upload):
                if held is not None and held.waker is event.command:
                    held.woken()
            yield from self._let_out()
        elif not isinstance(event, HttpEvent):
            pass
        elif isinstance(event, http_events.RequestProtocolError):
            yield from self._client_gone(event)
        elif self._made and isinstance(event, FROM_ORIGIN):
            pass  # we have answered in the origin's place
        elif self.response is not None and isinstance(event, BODY_FROM_ORIGIN):
            self._hold_back(self.response, event)
            yield from self._let_out()
        elif self.upload is not None and isinstance(event, BODY_FROM_CLIENT):
            self._hold_back(self.upload, event)
            yield from self._let_out()
        else:
            if isinstance(event, http_events.ResponseProtocolError):
                if self.response is not None:
                    yield from self._pass_on(self.response, self.response.release_all())
                self._end_all("origin-gone")
            yield from super()._handle_event(event)

    def _hold_back(self, held: Held, event: HttpEvent) -> None:
        if isinstance(event, (http_events.RequestData, http_events.ResponseData)):
            held.gate.push(event.data)
        elif isinstance(event, AFTER_BODY):
            held.gate.finish(event, isinstance(event, END_OF_MESSAGE))

    def _client_gone(self, event: http_events.RequestProtocolError) -> layer.CommandGenerator[None]:
        if self.upload is not None:
            yield from self._pass_on(self.upload, self.upload.release_all())
        self._end_all("client-gone")
        if self._made and self.server_state not in (self.state_done, self.state_errored):
            # mitmproxy would tell the origin; it was never asked, or has been told.
            self.flow.error = mflow.Error(event.message)
            yield HttpErrorHook(self.flow)
            self.client_state = self.server_state = self.state_errored
            self.flow.live = False
            yield http.DropStream(self.stream_id)
            return
        yield from super()._handle_event(event)

    def _let_out(self) -> layer.CommandGenerator[None]:
        if self.upload is not None:
            yield from self._pass_on(self.upload, self.upload.release())
        if self.response is not None:
            self.response.learn()
            if self.response.blocked and not self._made and not self.response.reset:
                yield http.SendHttp(self._cancel("blocked by policy"), self.context.server)
                self._use_made_response(self.response)
            elif self.response.answer_changed:
                self.response.answer_changed = False
                self._use_made_response(self.response)
            yield from self._pass_on(self.response, self.response.release())
        for held, reader in (
            (self.upload, self._client_reader),
            (self.response, self._origin_reader),
        ):
            if held is not None and reader is not None:
                if held.gate.waiting_bytes >= held.enough_bytes:
                    reader.stop()
                else:
                    reader.go_on()

    def _pass_on(self, held: Held, items: list[Item]) -> layer.CommandGenerator[None]:
        """Hand to mitmproxy's own states what the gate has let out."""
        sender = self.context.server if held is self.response else self.context.client
        if held is self.response and self.response is not None and self.response.reset:
            if items:
                yield from self._cut("blocked", "reset by policy", reset=True)
            return
        for item in items:
            if item is Mark.HEAD:
                yield from self._pass_head(held)
            elif item is Mark.CUT:
                reset = self.response is not None and self.response.cut_resets
                yield from self._cut("cut", "cut off by policy", reset=reset)
                return
            elif isinstance(item, bytes):
                yield from super()._handle_event(self._data(held, item))
                if held.credits and not self._made and (size := held.credit_for(len(item))):
                    yield http.SendHttp(Credit(self.stream_id, size), sender)
            elif isinstance(item, AFTER_BODY):
                if isinstance(item, END_OF_MESSAGE):
                    if self.response is not None and held is self.response:
                        self.response.end_goes_out()
                    self._end(held, "complete")
                yield from super()._handle_event(item)

    def _data(self, held: Held, data: bytes) -> HttpEvent:
        if held is self.upload:
            return http_events.RequestData(self.stream_id, data)
        return http_events.ResponseData(self.stream_id, data)

    def _pass_head(self, held: Held) -> layer.CommandGenerator[None]:
        if held is self.upload:
            yield from super().start_request_stream()
            return
        if self.response is not None:
            self.response.head_goes_out()
        if self.response is None or self.server_state != self.state_stream_response_body:
            pass  # no body: the headers go out with the end of the message
        elif self.response.stream_body:
            yield from super().start_response_stream()
        else:  # the body's first bytes told that no rule matches: buffered, as without us
            self.server_state = self.state_consume_response_body

    def _use_made_response(self, response: PacedResponse) -> None:
        """The flow's response is not from an origin but an addon's, perhaps ours."""
        made = self.flow.response
        if made is None:
            raise AssertionError("a flow without a response")
        self._made = True
        response.gate.discard()
        if content := made.raw_content:
            self.server_state = self.state_stream_response_body
            response.gate.push(content)
        else:
            self.server_state = self.state_consume_response_body
        response.gate.finish(http_events.ResponseEndOfMessage(self.stream_id), True)

    # -- endings

    def _cut(self, outcome: str, reason: str, *, reset: bool) -> layer.CommandGenerator[None]:
        """End the exchange where it is: RST_STREAM in HTTP/2, a closed or reset connection."""
        self._end_all(outcome)
        self.flow.error = mflow.Error(reason)
        yield HttpErrorHook(self.flow)
        if reset and self.context.client.alpn not in (b"h2", b"h3"):
            self.engine.connections.reset_on_close(self.context.client)
        code = http_events.ErrorCode.KILL if reset else http_events.ErrorCode.CANCEL
        end = http_events.ResponseProtocolError(self.stream_id, reason, code)
        yield http.SendHttp(end, self.context.client)
        if not self._made:
            yield http.SendHttp(self._cancel(reason), self.context.server)
        self._made = True  # whatever the origin still sends has nowhere to go
        self.client_state = self.server_state = self.state_errored
        self.flow.live = False
        yield http.DropStream(self.stream_id)

    def _cancel(self, reason: str) -> http_events.RequestProtocolError:
        code = http_events.ErrorCode.CANCEL
        return http_events.RequestProtocolError(self.stream_id, reason, code)

    def _end_all(self, outcome: str) -> None:
        for held in (self.upload, self.response):
            if held is not None:
                self._end(held, outcome)

    def _end(self, held: Held, outcome: str) -> None:
        """That body is no longer in the throttle's hands."""
        if held is self.response:
            self.response = None
            reader, self._origin_reader = self._origin_reader, None
        else:
            self.upload = None
            reader, self._client_reader = self._client_reader, None
        if reader is not None:
            reader.go_on()
            reader.hold_at_most(None)
        held.ended(outcome)


def _nothing() -> layer.CommandGenerator[None]:
    yield from ()
