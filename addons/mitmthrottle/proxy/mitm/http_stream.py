"""mitmproxy's HTTP stream, with the two bodies of an exchange under a rule.

Rule: this class moves events and knows nothing of rules or rates.  It holds back what comes from
one side and hands it to mitmproxy's own state machine piece by piece, so that streaming callbacks,
stored bodies, trailers and hooks work as they always do.

    origin -> [body] -> HttpStream's states -> client      a response
    client -> [body] -> HttpStream's states -> origin      a request with an `upload` rule

Which rule it is is decided when all addons have seen the headers: what they have set, killed or
answered counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mitmproxy import flow as mflow
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _events as http_events
from mitmproxy.proxy.layers.http._base import HttpConnection, HttpEvent
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHeadersHook,
    HttpResponseHeadersHook,
)
from mitmproxy.proxy.layers.http._http1 import Http1Connection
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Connection

from mitmthrottle.policy import Rule
from mitmthrottle.proxy.bodies.body import SMALL_QUEUE_BYTES, Body
from mitmthrottle.proxy.bodies.queue import Item, Tail
from mitmthrottle.proxy.observe import server_timing
from mitmthrottle.proxy.observe.unpaced import Unpaced

from .carrier import Carrier
from .flow_control import (
    Acknowledge,
    OpenWindow,
    PacedHttp2Connection,
    PausableReader,
    window_bytes,
)

END_OF_MESSAGE = (http_events.RequestEndOfMessage, http_events.ResponseEndOfMessage)
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
FROM_ORIGIN = (*BODY_FROM_ORIGIN, http_events.ResponseHeaders, http_events.ResponseProtocolError)


class PacedStream(Carrier, http.HttpStream):
    """One request and its response."""

    # Of the class until they are set: most streams never set one.
    response: Body | None = None
    upload: Body | None = None
    _unpaced: Unpaced | None = None
    _blocked_by: Rule | None = None  # at its request
    _decided = False  # the response was looked at
    _made = False  # the response is not the origin's
    _handing_on = False  # to mitmproxy's own states

    # -- where mitmproxy's states meet us: where there is nothing for us to do, its own generator
    # is given back, for one of ours around it costs everybody

    def state_wait_for_request_headers(
        self, event: http_events.RequestHeaders
    ) -> layer.CommandGenerator[None]:
        handled = super().state_wait_for_request_headers(event)
        if event.end_stream and not self.engine.looks_at_requests:
            return handled  # type: ignore[no-any-return]  # mitmproxy's decorator loses the type
        return self._request_headers(handled, has_body=not event.end_stream)

    def _request_headers(
        self, handled: layer.CommandGenerator[None], *, has_body: bool
    ) -> layer.CommandGenerator[None]:
        look = self._look_at_request_with_body if has_body else self._look_at_request
        yield from _and_then(handled, HttpRequestHeadersHook, look)
        self._see_to_ends()
        if has_body and self.upload is None and self._limits_streams(self.context.client):
            yield http.SendHttp(OpenWindow(self.stream_id, None), self.context.client)

    def _look_at_request(self) -> None:
        """All addons have seen the request's headers."""
        if self.flow.response is not None or not self.flow.live:
            return
        try:
            self._blocked_by = self.engine.blocks_request(self.flow)
        except Exception:  # fail open: see bodies/body.py
            self.engine.failed(self.flow.request.pretty_url)

    def _look_at_request_with_body(self) -> None:
        self._look_at_request()
        if self.flow.response is not None:
            self.flow.request.stream = False  # it is answered: see `start_request_stream`
            return
        if not self.engine.looks_at_requests:
            return
        try:
            self.upload = self.engine.request_body(self.flow)
        except Exception:  # fail open: see bodies/body.py
            self.engine.failed(self.flow.request.pretty_url)
        if self.upload is not None:
            self.flow.request.stream = self.flow.request.stream or True

    def start_request_stream(self) -> layer.CommandGenerator[None]:
        if self.flow.response is not None:
            # Answered by an addon, perhaps by us, before the body has come.  mitmproxy would raise
            # here; the body is of no use to anybody.
            self.client_state = self._state_drop_request_body
            return _nothing()
        if self.upload is None or self.upload.headers_sent:
            return super().start_request_stream()
        return self._start_upload(self.upload)

    def _state_drop_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, http_events.RequestEndOfMessage):
            self.request_body_buf.clear()
            yield from self.state_consume_request_body(event)

    def _start_upload(self, upload: Body) -> layer.CommandGenerator[None]:
        self.client_state = self.state_stream_request_body  # its start waits for its turn
        client = self.context.client
        begun = self._begin(
            upload,
            self._unsent_upload,
            lambda: self._reader_of_upload(upload),
            lambda: self._has_windows(client),
        )
        if not begun:
            self.upload = None
            yield from super().start_request_stream()
            return
        self._handle_event = self._handle_paced
        yield from self._let_out(upload)

    def _reader_of_upload(self, upload: Body) -> PausableReader | None:
        """Over HTTP/2 windows hold it.  But where its rule has only just come, the client may have
        sent more before it heard of that: then its connection is paused until that is gone."""
        client = self.context.client
        if client.alpn == b"h2":
            upload.window_bytes = window_bytes
            return self._pausable_reader(client)
        return self._reader(client)

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        try:
            concerned = self.engine.concerns(self.flow)
        except Exception:  # fail open: see bodies/body.py
            self.engine.failed(self.flow.request.pretty_url)
            concerned = False
        return self._connect_reading_little() if concerned else super().make_server_connection()

    def _connect_reading_little(self) -> layer.CommandGenerator[bool]:
        """Until the response's headers tell more."""
        connected = yield from super().make_server_connection()
        if connected:
            try:
                reader = self._reader(self.context.server)
            except Exception:  # fail open: see bodies/body.py
                self.engine.failed(self.flow.request.pretty_url)
                return connected
            if reader is not None:
                reader.limit(SMALL_QUEUE_BYTES)
                self.engine.connections.reading_little.add(reader)
            else:
                self._read_as_usual()  # HTTP/2: windows hold its streams, not the reader
        return connected

    def _read_as_usual(self) -> None:
        little = self.engine.connections.reading_little
        if not little:
            return
        try:
            reader = self._pausable_reader(self.context.server)
        except Exception:  # fail open: see bodies/body.py
            self.engine.failed(self.flow.request.pretty_url)
            return
        if reader is not None and reader in little:
            little.discard(reader)
            reader.limit(None)

    def state_wait_for_response_headers(
        self, event: http_events.ResponseHeaders
    ) -> layer.CommandGenerator[None]:
        handled = super().state_wait_for_response_headers(event)
        yield from _and_then(handled, HttpResponseHeadersHook, self._look_at_response)
        body = self.response
        if body is not None and self.server_state != self.state_errored:
            if self._begin_response(body):
                yield from self._let_out(body)
                return
            if self.server_state == self.state_stream_response_body:
                yield from super().start_response_stream()  # its headers have waited for that
        self._see_to_ends()
        self._look_on()
        self._read_as_usual()
        if not event.end_stream and self._limits_streams(self.context.server):
            yield http.SendHttp(OpenWindow(self.stream_id, None), self.context.server)

    def _look_at_response(self) -> None:
        """All addons have seen the response's headers."""
        self._decided = True
        if self.flow.response is None or not self.flow.live or self.flow.error is not None:
            return
        try:
            self.response = self.engine.response_body(self.flow, self._blocked_by)
            if self.response is not None:
                self.flow.response.stream = self.flow.response.stream or True
            else:
                self._unpaced = self.engine.unpaced(self.flow)
        except Exception:  # fail open: see bodies/body.py
            self.engine.failed(self.flow.request.pretty_url)

    def _begin_response(self, body: Body) -> bool:
        begun = self._begin(
            body,
            self._unsent_response,
            self._reader_of_response,
            lambda: not self._made and self._has_windows(self.context.server),
        )
        if not begun:
            self.response = None
            return False
        # As mitmproxy does for upgraded connections: from now on, events come here.
        self._handle_event = self._handle_paced
        return True

    def _reader_of_response(self) -> PausableReader | None:
        reader = None if self._made else self._reader(self.context.server)
        if reader is not None:
            self.engine.connections.reading_little.discard(reader)
        return reader

    def start_response_stream(self) -> layer.CommandGenerator[None]:
        if self.response is None and self._unpaced is not None:
            return self._start_counted_response()
        if self.response is None or self.response.headers_sent:
            return super().start_response_stream()
        # The headers wait for their turn, see `_pass_headers`.
        self.server_state = self.state_stream_response_body
        return _nothing()

    def send_response(self, already_streamed: bool = False) -> layer.CommandGenerator[None]:
        if not already_streamed and not self._decided:
            # An addon made this response: pace it like one that came from an origin.
            self._look_at_response()
            if self.response is not None:
                return self._send_made_response(self.response)
            self._look_on()
        return super().send_response(already_streamed)  # type: ignore[no-any-return]  # untyped there

    def _send_made_response(self, body: Body) -> layer.CommandGenerator[None]:
        self._made = True
        if not self._begin_response(body):
            yield from super().send_response()
            return
        self._use_made_response(body)
        yield from self._let_out(body)

    # -- a response that no rule slows, looked at as it passes

    def _start_counted_response(self) -> layer.CommandGenerator[None]:
        """Also where mitmproxy begins to stream in the middle of a body (`stream_large_bodies`)."""
        yield from super().start_response_stream()
        self._look_on()

    def _look_on(self) -> None:
        if self._unpaced is not None and self.server_state == self.state_stream_response_body:
            self.server_state = self._state_counted_response_body

    def _state_counted_response_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._unpaced is not None and isinstance(event, http_events.ResponseData):
            self._unpaced.passed(len(event.data), self.engine.now())
        return self.state_stream_response_body(event)  # type: ignore[no-any-return]  # mitmproxy's decorator loses the type

    def handle_protocol_error(
        self, event: http_events.RequestProtocolError | http_events.ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        if self._unpaced is not None:
            by_client = isinstance(event, http_events.RequestProtocolError)
            self._unpaced.lost = "client-gone" if by_client else "origin-gone"
        yield from super().handle_protocol_error(event)

    # -- events

    def _handle_paced(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            yield from self._let_out(self.upload, self.response)
        elif not isinstance(event, HttpEvent):
            pass
        elif self._handing_on:
            # What it has collected so far, where it begins to stream in the middle of a body.
            yield from super()._handle_event(event)
        elif isinstance(event, http_events.RequestProtocolError):
            yield from self._client_gone(event)
        elif self._made and isinstance(event, FROM_ORIGIN):
            pass  # we have answered in the origin's place
        elif self.response is not None and isinstance(event, BODY_FROM_ORIGIN):
            yield from self._hold_back(self.response, event)
        elif self.upload is not None and isinstance(event, BODY_FROM_CLIENT):
            yield from self._hold_back(self.upload, event)
        else:
            if isinstance(event, http_events.ResponseProtocolError):
                if self.response is not None and self.response.waits_to_block:
                    self._go_on_without_origin(self.response)
                    return
                yield from self._origin_gone()
                if self.server_state == self.state_errored:  # it has been cut at its place
                    return
            yield from super()._handle_event(event)
            self._see_to_ends()

    def _hold_back(self, body: Body, event: HttpEvent) -> layer.CommandGenerator[None]:
        if isinstance(event, (http_events.RequestData, http_events.ResponseData)):
            body.push(event.data)
        else:
            body.push_tail(event, ends=isinstance(event, END_OF_MESSAGE))
        yield from self._let_out(self.upload, self.response)

    def _hand_on(self, body: Body, item: Item) -> layer.CommandGenerator[None]:
        self._handing_on = True
        try:
            yield from super()._hand_on(body, item)
        finally:
            self._handing_on = False
        self._see_to_ends()

    def _pass_bytes(self, body: Body, data: bytes) -> layer.CommandGenerator[None]:
        kind = http_events.RequestData if body is self.upload else http_events.ResponseData
        yield from super()._handle_event(kind(self.stream_id, data))
        waits = body.flow_controlled and (body is self.upload or not self._made)
        if waits and (size := body.to_acknowledge(len(data))):
            yield http.SendHttp(Acknowledge(self.stream_id, size), self._sender(body))

    def _pass_tail(self, body: Body, tail: Tail) -> layer.CommandGenerator[None]:
        event = tail.what
        if not isinstance(event, HttpEvent):
            raise TypeError(f"{event!r} in the queue of an HTTP body")
        if not tail.ends:
            yield from super()._handle_event(event)
            return
        if body is self.response:
            self._say_how_it_went(body)
        behind = body.queue.drain()
        self._close(body, "complete")
        yield from super()._handle_event(event)
        # A connection that has changed its protocol: it has begun to speak the new one already.
        for item in behind:
            if isinstance(item, Tail):
                assert isinstance(item.what, HttpEvent)  # noqa: S101  (only these were pushed)
                yield from self._handle_event(item.what)
            else:
                yield from self._handle_event(http_events.ResponseData(self.stream_id, item))

    def _pass_headers(self, body: Body) -> layer.CommandGenerator[None]:
        if body is self.upload:
            yield from super().start_request_stream()
            if self.client_state == self.state_errored:  # there is no origin
                self._close(body, "origin-gone")
            return
        if self.engine.server_timing and body.rule is not None and self.flow.response is not None:
            headers = self.flow.response.headers
            server_timing.add_start(headers, body.rule.name, body.asked_bytes_per_s, body.age_s)
        if self.server_state != self.state_stream_response_body:
            pass  # no body: the headers go out with the end of the message
        elif not body.collected:
            yield from super().start_response_stream()
        else:  # the body's first bytes told that no rule matches: buffered, as without us
            self.server_state = self.state_consume_response_body

    def _say_how_it_went(self, body: Body) -> None:
        """The body has gone out; HTTP/2 and HTTP/3 may still say something behind it."""
        response = self.flow.response
        if (
            self.engine.server_timing
            and body.rule is not None
            and response is not None
            and body.sent_bytes
            and self.context.client.alpn in (b"h2", b"h3")
        ):
            record = body.record("complete")
            response.trailers = server_timing.trailers_with_end(response.trailers, record)

    def _settle(self, body: Body) -> layer.CommandGenerator[None]:
        """Let its sender's window follow the rate."""
        if body.flow_controlled and (window := body.window()) is not None:
            yield http.SendHttp(OpenWindow(self.stream_id, *window), self._sender(body))

    def _pass_rest(self, body: Body) -> layer.CommandGenerator[None]:
        yield from super()._pass_rest(body)
        if body in (self.upload, self.response):  # and has not come to its end by that
            if body.flow_controlled and (body is self.upload or not self._made):
                yield http.SendHttp(OpenWindow(self.stream_id, None), self._sender(body))
            body.flow_controlled = False

    # -- answers of ours

    def _block(self, body: Body) -> layer.CommandGenerator[None]:
        block, rule = body.plan.block, body.rule
        if body.headers_sent or block is None or block == "reset" or rule is None:
            yield from super()._block(body)
            return
        self.engine.answer(self.flow, rule, block)
        body.answered = block
        if not self._made:
            self._made = True
            yield http.SendHttp(self._cancel("blocked by policy"), self.context.server)
            if self.client_state == self.state_stream_request_body:
                yield from self._drop_rest_of_request()
        self._use_made_response(body)

    def _drop_rest_of_request(self) -> layer.CommandGenerator[None]:
        """It has been answered, and nobody takes what the client still sends."""
        if self.upload is not None:
            flow_controlled = self.upload.flow_controlled
            self._close(self.upload, "blocked")
            if flow_controlled:
                yield http.SendHttp(OpenWindow(self.stream_id, None), self.context.client)
        self.client_state = self._state_drop_rest_of_request

    def _state_drop_rest_of_request(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, http_events.RequestEndOfMessage):
            self.flow.request.timestamp_end = time.time()
            self.client_state = self.state_done
            if self.server_state == self.state_done:
                yield from self.flow_done()

    def _use_made_response(self, body: Body) -> None:
        """The flow's response is not from an origin but an addon's, perhaps ours."""
        made = self.flow.response
        if made is None:
            raise AssertionError("a flow without a response")
        made.stream = True  # by us; mitmproxy gives what is made to no streaming callback
        body.queue.clear()
        if content := made.raw_content:
            self.server_state = self.state_stream_response_body
            if self.flow.request.method != "HEAD":  # whose answer has none on the wire
                body.push(content)
        else:
            self.server_state = self.state_consume_response_body
        body.push_tail(http_events.ResponseEndOfMessage(self.stream_id), ends=True)

    # -- endings

    def _client_gone(self, event: http_events.RequestProtocolError) -> layer.CommandGenerator[None]:
        if self.upload is not None and self.upload.headers_sent:
            yield from self._pass_rest(self.upload)
        elif self.upload is not None:
            # There is no connection yet to which mitmproxy could say so.
            self.client_state = self.state_consume_request_body
        self._close_all("client-gone")
        if self._made and self.server_state not in (self.state_done, self.state_errored):
            # mitmproxy would tell the origin; it was never asked, or has been told.
            self.flow.error = mflow.Error(event.message)
            yield HttpErrorHook(self.flow)
            self._drop()
            yield http.DropStream(self.stream_id)
            return
        yield from super()._handle_event(event)

    def _go_on_without_origin(self, blocked: Body) -> None:
        """Nothing of this response was ever to pass: it is blocked when its time has come."""
        blocked.queue.clear()
        self._made = True
        if self.upload is not None:
            self._close(self.upload, "origin-gone")
            self.client_state = self.state_errored

    def _origin_gone(self) -> layer.CommandGenerator[None]:
        if self.response is not None:
            yield from self._pass_rest(self.response)
        self._close_all("origin-gone")

    def _cut(self, outcome: str, reason: str, *, reset: bool) -> layer.CommandGenerator[None]:
        """End the exchange where it is: RST_STREAM in HTTP/2, a closed or reset connection."""
        self._close_all(outcome)
        if self.server_state == self.state_errored or self._is_through():
            return
        # An addon may have killed it, which mitmproxy sees to at its end only.
        self.flow.error = self.flow.error or mflow.Error(reason)
        yield HttpErrorHook(self.flow)
        if reset and self.context.client.alpn not in (b"h2", b"h3"):
            self.engine.connections.reset_on_close(self.context.client)
        code = http_events.ErrorCode.KILL if reset else http_events.ErrorCode.CANCEL
        end = http_events.ResponseProtocolError(self.stream_id, reason, code)
        yield http.SendHttp(end, self.context.client)
        if not self._made and self.parent_layer().connections.get(self.context.server):
            yield http.SendHttp(self._cancel(reason), self.context.server)
        self._made = True  # whatever the origin still sends has nowhere to go
        self._drop()
        yield http.DropStream(self.stream_id)

    def _is_through(self) -> bool:
        """Both messages have come to their ends, and no other protocol has followed."""
        states = (self.client_state, self.server_state)
        return not self.flow.live and all(state == self.state_done for state in states)

    def _drop(self) -> None:
        self.client_state = self.server_state = self.state_errored
        self.flow.live = False

    def _cancel(self, reason: str) -> http_events.RequestProtocolError:
        code = http_events.ErrorCode.CANCEL
        return http_events.RequestProtocolError(self.stream_id, reason, code)

    def _see_to_ends(self) -> None:
        """mitmproxy or an addon may have ended the exchange while its bodies are with us."""
        if self.client_state == self.state_errored and self.upload is not None:
            self._close(self.upload, self._how_it_ended())
        if self.server_state == self.state_errored and self.response is not None:
            self._close(self.response, self._how_it_ended())

    def _how_it_ended(self) -> str:
        """An addon has killed it, or mitmproxy has refused it; or the client was gone when a hook
        was through: mitmproxy looks ahead for that, and we are told of it afterwards."""
        error = self.flow.error
        killed = error is not None and error.msg == mflow.Error.KILLED_MESSAGE
        waiting = self._paused_event_queue
        gone = any(isinstance(event, http_events.RequestProtocolError) for event in waiting)
        return "client-gone" if gone and not killed else "stopped"

    def _close_all(self, outcome: str) -> None:
        for body in (self.upload, self.response):
            if body is not None:
                self._close(body, outcome)

    def _close(self, body: Body, outcome: str) -> None:
        """That body is no longer in the throttle's hands."""
        if body is self.response:
            self.response = None
        else:
            self.upload = None
        body.close(outcome)

    # -- the connections that its bodies come from and go to; they change under a stream

    def _sender(self, body: Body) -> Connection:
        return self.context.client if body is self.upload else self.context.server

    def _unsent_response(self) -> int:
        client = self.context.client
        return max(self.engine.connections.unsent_bytes(client, client)(), self._unsent_h2(client))

    def _unsent_upload(self) -> int:
        server = self.context.server
        if self.upload is None or not self.upload.headers_sent:
            return 0  # there is no connection yet
        unsent = self.engine.connections.unsent_bytes(self.context.client, server)()
        return max(unsent, self._unsent_h2(server))

    def _unsent_h2(self, receiver: Connection) -> int:
        """What waits in the proxy for this stream's HTTP/2 window to open."""
        if receiver.alpn != b"h2":
            return 0
        connection = self._protocol(receiver)
        if not isinstance(connection, Http2Connection):
            return 0
        stream_id = self.stream_id
        if isinstance(connection, Http2Client):
            stream_id = connection.our_stream_id.get(stream_id, stream_id)
        waiting = connection.h2_conn.stream_buffers.get(stream_id, ())
        return sum(len(piece.data) for piece in waiting)

    def parent_layer(self) -> http.HttpLayer:
        parent = self.context.layers[self.context.layers.index(self) - 1]
        if not isinstance(parent, http.HttpLayer):
            raise TypeError(f"a stream's parent is {parent!r}")
        return parent

    def _protocol(self, peer: Connection) -> HttpConnection | None:
        """The HTTP/1 or HTTP/2 layer that talks to that peer."""
        found = self.parent_layer().connections.get(peer)
        while found is not None and not isinstance(found, HttpConnection):
            found = getattr(found, "child_layer", None)
        return found

    def _reader(self, sender: Connection) -> PausableReader | None:
        """The reader to pause while this stream's body from that peer is held.

        None for HTTP/2: pausing its reader would stop every other stream of the connection.
        """
        if not isinstance(self._protocol(sender), Http1Connection):
            return None
        return self._pausable_reader(sender)

    def _pausable_reader(self, peer: Connection) -> PausableReader | None:
        below = self.parent_layer().connections.get(peer)
        return self.engine.connections.reader_under(self.context, peer, below)

    def _has_windows(self, sender: Connection) -> bool:
        """Whether that peer's connection takes `OpenWindow` and `Acknowledge`."""
        return sender.alpn == b"h2" and isinstance(self._protocol(sender), PacedHttp2Connection)

    def _limits_streams(self, sender: Connection) -> bool:
        """Whether that peer's connection waits for an `OpenWindow` for each stream."""
        if sender.alpn != b"h2":
            return False
        connection = self._protocol(sender)
        return isinstance(connection, PacedHttp2Connection) and connection.limits_streams


def _nothing() -> layer.CommandGenerator[None]:
    yield from ()


def _and_then(
    handled: layer.CommandGenerator[None],
    hook: type[commands.StartHook],
    then: Callable[[], None],
) -> layer.CommandGenerator[None]:
    """What mitmproxy does, and `then` as soon as all addons have answered that hook."""
    reply = None
    while True:
        try:
            command = handled.send(reply)
        except StopIteration:
            return
        reply = yield command
        if isinstance(command, hook):
            then()
