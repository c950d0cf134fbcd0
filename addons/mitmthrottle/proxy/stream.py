"""mitmproxy's HTTP stream with a gate before the response's body.

Rule: this class moves events and knows nothing of rules or rates.  It holds back what comes from
the origin and hands it to mitmproxy's own state machine piece by piece, so that streaming
callbacks, stored bodies, trailers and hooks work as they always do.

    origin -> [gate] -> HttpStream's states -> client

What ends the wait: the gate has let everything out; the client is gone (what is held is dropped);
the origin is gone (what is held goes out at once, nothing is lost); the throttle is (likewise).
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from mitmproxy import flow as mflow
from mitmproxy import http as mhttp
from mitmproxy.connection import Client
from mitmproxy.proxy import context, events, layer
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _events as http_events
from mitmproxy.proxy.layers.http._base import HttpConnection, HttpEvent
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook
from mitmproxy.proxy.layers.http._http2 import Http2Server

from .credit import SMALL_BYTES, Admit, Credit, CreditClient, GatedReader
from .gate import HEAD, Gate, Head

Last = http_events.ResponseTrailers | http_events.ResponseEndOfMessage
Item = Head | bytes | Last


FROM_ORIGIN = (
    http_events.ResponseData,
    http_events.ResponseTrailers,
    http_events.ResponseEndOfMessage,
    http_events.ResponseProtocolError,
)


class Throttled(Protocol):
    """One response in the hands of the throttle; see `paced.py`."""

    gate: Gate[Last]
    stream_body: bool  # the body was to be streamed to the client anyway
    blocked: bool  # the flow's response is ours: the origin is not listened to any more
    reset: bool  # end the client's connection instead of answering

    def learn(self) -> None: ...
    def attach(self, stream: PacedStream) -> None: ...
    def woken(self) -> None: ...
    def release(self) -> list[Item]: ...
    def release_all(self) -> list[Item]: ...
    def ended(self, outcome: str) -> None: ...
    def reader(self) -> GatedReader | None: ...
    @property
    def rate_bytes_per_s(self) -> float | None: ...
    @property
    def enough_bytes(self) -> int: ...


class Engine(Protocol):
    """Where a stream asks whether its response is throttled."""

    def take(self, flow: mhttp.HTTPFlow) -> Throttled | None: ...
    def reset_on_close(self, client: Client) -> None: ...
    def reader_of(self, stream: PacedStream) -> GatedReader | None: ...


class PacedStream(http.HttpStream):
    """One request and its response, the response through a gate if a rule says so."""

    engine: ClassVar[Engine]

    def __init__(self, ctx: context.Context, stream_id: int) -> None:
        super().__init__(ctx, stream_id)
        self.throttled: Throttled | None = None
        self._reader: GatedReader | None = None
        self._made = False  # the response is not the origin's
        self._credit_owed = False  # the origin's HTTP/2 connection waits for our credit

    def state_wait_for_response_headers(
        self, event: http_events.ResponseHeaders
    ) -> layer.CommandGenerator[None]:
        yield from super().state_wait_for_response_headers(event)
        if self.throttled is None:  # not streamed: no body, or killed
            self._begin()
        if self.server_state == self.state_errored:
            self._end("stopped")  # killed by somebody else
        if self.throttled is None:
            if reader := self.engine.reader_of(self):
                reader.hold_at_most(None)
            if self._upstream_is_guarded() and not event.end_stream:
                yield http.SendHttp(Admit(self.stream_id, None), self.context.server)
            return
        if self._upstream_is_guarded():
            self._credit_owed = True
            rate = self.throttled.rate_bytes_per_s
            yield http.SendHttp(Admit(self.stream_id, rate or 0.0), self.context.server)
        yield from self._let_out()

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        connected = yield from super().make_server_connection()
        if connected and (reader := self.engine.reader_of(self)):
            reader.hold_at_most(SMALL_BYTES)  # until the response's headers tell
        return connected

    def start_response_stream(self) -> layer.CommandGenerator[None]:
        self._begin()
        if self.throttled is None:
            yield from super().start_response_stream()
        else:  # the headers wait for their turn, see `_let_out`
            self.server_state = self.state_stream_response_body

    def send_response(self, already_streamed: bool = False) -> layer.CommandGenerator[None]:
        if not already_streamed and self.throttled is None:
            self._begin()
            if self.throttled is not None:
                # An addon made this response: pace it like one that came from an origin.
                self._use_made_response()
                yield from self._let_out()
                return
        yield from super().send_response(already_streamed)

    def _begin(self) -> None:
        self.throttled = self.engine.take(self.flow)
        if self.throttled is not None:
            self.throttled.attach(self)
            self._reader = self.throttled.reader()
            # As mitmproxy does for upgraded connections: from now on, events come here.
            self._handle_event = self._handle_gated

    def _handle_gated(self, event: events.Event) -> layer.CommandGenerator[None]:
        throttled = self.throttled
        if throttled is None:  # ended; a wake-up may still be on its way
            if isinstance(event, HttpEvent) and not (self._made and isinstance(event, FROM_ORIGIN)):
                yield from super()._handle_event(event)
        elif isinstance(event, events.Wakeup):
            throttled.woken()
            yield from self._let_out()
        elif isinstance(event, http_events.RequestProtocolError):
            self._end("client-gone")
            yield from super()._handle_event(event)
        elif self._made and isinstance(event, FROM_ORIGIN):
            pass
        elif isinstance(event, http_events.ResponseData):
            throttled.gate.push(event.data)
            yield from self._let_out()
        elif isinstance(event, (http_events.ResponseTrailers, http_events.ResponseEndOfMessage)):
            complete = isinstance(event, http_events.ResponseEndOfMessage)
            throttled.gate.finish(event, complete)
            yield from self._let_out()
        elif isinstance(event, http_events.ResponseProtocolError):
            yield from self._pass_on(throttled.release_all())
            self._end("origin-gone")
            yield from super()._handle_event(event)
        else:
            yield from super()._handle_event(event)

    def _let_out(self) -> layer.CommandGenerator[None]:
        if self.throttled is None:
            return
        self.throttled.learn()
        if self.throttled.blocked and not self._made:
            yield http.SendHttp(self._cancel("blocked by policy"), self.context.server)
            self._use_made_response()
        yield from self._pass_on(self.throttled.release())
        self._adjust_reader()

    def _pass_on(self, items: list[Item]) -> layer.CommandGenerator[None]:
        """Hand to mitmproxy's own states what the gate has let out."""
        if items and self.throttled is not None and self.throttled.reset:
            yield from self._reset()
            return
        for item in items:
            if item is HEAD:
                yield from self._pass_head()
            elif isinstance(item, bytes):
                data = http_events.ResponseData(self.stream_id, item)
                yield from super()._handle_event(data)
                if self._credit_owed:
                    credit = Credit(self.stream_id, len(item))
                    yield http.SendHttp(credit, self.context.server)
            else:
                if isinstance(item, http_events.ResponseEndOfMessage):
                    self._end("complete")
                yield from super()._handle_event(item)

    def _pass_head(self) -> layer.CommandGenerator[None]:
        if self.server_state != self.state_stream_response_body or self.throttled is None:
            return  # no body: the headers go out with the end of the message
        if self.throttled.stream_body:
            yield from super().start_response_stream()
        else:  # the body's first bytes told that no rule matches: buffered, as without us
            self.server_state = self.state_consume_response_body

    def _use_made_response(self) -> None:
        """The flow's response is not from an origin but an addon's, perhaps ours."""
        throttled, response = self.throttled, self.flow.response
        if throttled is None or response is None:
            raise AssertionError("only called with both")
        self._made = True
        throttled.gate.discard()
        if content := response.raw_content:
            self.server_state = self.state_stream_response_body
            throttled.gate.push(content)
        else:
            self.server_state = self.state_consume_response_body
        throttled.gate.finish(http_events.ResponseEndOfMessage(self.stream_id), True)

    def _reset(self) -> layer.CommandGenerator[None]:
        """End the exchange without an answer: RST_STREAM, or a TCP reset for HTTP/1."""
        self._end("blocked")
        self.flow.error = mflow.Error("reset by policy")
        yield HttpErrorHook(self.flow)
        if self.context.client.alpn not in (b"h2", b"h3"):
            self.engine.reset_on_close(self.context.client)
        reset = http_events.ResponseProtocolError(
            self.stream_id, "reset by policy", http_events.ErrorCode.KILL
        )
        yield http.SendHttp(reset, self.context.client)
        self.client_state = self.server_state = self.state_errored
        self.flow.live = False
        yield http.DropStream(self.stream_id)

    def _cancel(self, reason: str) -> http_events.RequestProtocolError:
        code = http_events.ErrorCode.CANCEL
        return http_events.RequestProtocolError(self.stream_id, reason, code)

    def _adjust_reader(self) -> None:
        """Stop the origin while more is held than will soon be sent; let it go on in time."""
        if self._reader is None or self.throttled is None:
            return
        enough = self.throttled.enough_bytes
        if self.throttled.gate.waiting_bytes >= enough:
            self._reader.stop()
        else:
            self._reader.go_on()

    def _upstream_is_guarded(self) -> bool:
        upstream = self.parent_layer().connections.get(self.context.server)
        while upstream is not None and not isinstance(upstream, HttpConnection):
            upstream = getattr(upstream, "child_layer", None)
        return isinstance(upstream, CreditClient) and upstream.guarded

    def unsent_bytes(self) -> int:
        """What waits in the proxy for this stream's HTTP/2 window to open."""
        connection = self.parent_layer().connections.get(self.context.client)
        if not isinstance(connection, Http2Server):
            return 0
        waiting = connection.h2_conn.stream_buffers.get(self.stream_id, ())
        return sum(len(piece.data) for piece in waiting)

    def parent_layer(self) -> http.HttpLayer:
        parent = self.context.layers[self.context.layers.index(self) - 1]
        if not isinstance(parent, http.HttpLayer):
            raise TypeError(f"a stream's parent is {parent!r}")
        return parent

    def _end(self, outcome: str) -> None:
        """The response is no longer in the throttle's hands."""
        if self.throttled is None:
            return
        throttled, self.throttled = self.throttled, None
        if self._reader is not None:
            self._reader.go_on()
            self._reader.hold_at_most(None)
            self._reader = None
        throttled.ended(outcome)
