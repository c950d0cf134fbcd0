"""How a layer of mitmproxy's carries bodies: an HTTP stream, a TCP relay, a WebSocket.

Rule: the three share this one way of letting out, cutting and ending.  Each says only how a piece
is handed on and how its exchange ends; what may pass when is the body's own business.

An error in what is handed on to (mitmproxy's own states, a callback of another addon) ends that
exchange and harms no other: several of one connection are woken together, and what one segment
brought for several is handed to one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.flow import Flow
from mitmproxy.proxy import context, layer

from mitmthrottle.policy import Block, Rule
from mitmthrottle.proxy.bodies.body import Body
from mitmthrottle.proxy.bodies.queue import Item, Mark, Tail
from mitmthrottle.proxy.observe.unpaced import Unpaced

from .connections import Connections
from .flow_control import PausableReader
from .wake import Clock, Waker


class Throttling(Protocol):
    """What the layers know of the running throttle."""

    clock: Clock
    connections: Connections
    server_timing: bool
    """say in responses what is done to them"""
    stopped: bool
    http2_clients: WeakSet[layer.Layer]
    """connections of clients that speak HTTP/2"""

    def might_match_any(self, names: set[str | None]) -> bool:
        """Whether a rule could be for a host of one of these names."""

    def paces_uploads(self) -> bool:
        """Whether any rule has an `upload`."""

    @property
    def looks_at_requests(self) -> bool:
        """Whether a rule may be for a request before there is a response."""

    def concerns(self, flow: http.HTTPFlow) -> bool: ...
    def blocks_request(self, flow: http.HTTPFlow) -> Rule | None: ...
    def answer(self, flow: http.HTTPFlow, rule: Rule, how: Block) -> None: ...
    def request_body(self, flow: http.HTTPFlow) -> Body | None: ...
    def response_body(self, flow: http.HTTPFlow, blocked_by: Rule | None) -> Body | None: ...
    def unpaced(self, flow: http.HTTPFlow) -> Unpaced | None: ...
    def relayed(
        self, ctx: context.Context, name: str | None, scheme: str, flow: Flow | None
    ) -> list[Body]: ...
    def websocket(self, ctx: context.Context, flow: http.HTTPFlow) -> list[Body]: ...
    def now(self) -> float: ...
    def failed(self, what: str) -> None:
        """To be called in an `except`: an error of ours, and that exchange goes on without us."""

    def failed_beyond(self, what: str) -> None:
        """Likewise: what it was handed on to has failed, and that exchange ends."""


class Carrier(layer.Layer):
    """What the three have in common."""

    engine: Throttling
    """of the class, see patch.py"""

    def _begin(
        self,
        body: Body,
        unsent_bytes: Callable[[], int],
        reader: Callable[[], PausableReader | None],
        flow_controlled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Carry that body from now on.  False: it goes on without us, since there is no client to
        be slow for, as where a flow is replayed, or for an error of ours."""
        try:
            client = self.context.client
            handler = self.engine.connections.handler_of(client)
            if handler is None:
                body.closed = True
                return False
            body.begin(
                Waker(self, handler, self.engine.clock),
                reader(),
                unsent_bytes,
                flow_controlled=flow_controlled(),
                timeout_s=handler.timeout_watchdog.timeout,
            )
        except Exception:  # fail open: see bodies/body.py
            self.engine.failed(body.subject)
            body.close("stopped")
            return False
        return True

    def _let_out(self, *bodies: Body | None) -> layer.CommandGenerator[None]:
        """Hand on what may pass now, of each."""
        for body in bodies:
            if body is None:
                continue
            if body.closed:  # by somebody else: the proxy stops, or the client is gone
                yield from self._pass_rest(body)
                continue
            try:
                while (item := body.next_item()) is not None:
                    yield from self._hand_on(body, item)
                if not body.closed:
                    yield from self._settle(body)
            except Exception:
                self.engine.failed_beyond(body.subject)
                yield from self._cut("stopped", "an addon or the proxy failed on it", reset=True)
            finally:
                # Also where mitmproxy fails further down, and nothing goes on behind a `yield`.
                if not body.closed:
                    body.settle()

    def _pass_rest(self, body: Body) -> layer.CommandGenerator[None]:
        """It is not paced any more, or its sender is gone: what is held goes out at once."""
        if body.closed:
            body.stop_pacing()
        else:
            body.sender_gone()
        while (item := body.next_of_all()) is not None:
            yield from self._hand_on(body, item)

    def _settle(self, body: Body) -> layer.CommandGenerator[None]:
        """Nothing more of it may pass now."""
        yield from ()

    def _hand_on(self, body: Body, item: Item) -> layer.CommandGenerator[None]:
        if isinstance(item, bytes):
            yield from self._pass_bytes(body, item)
        elif isinstance(item, Tail):
            yield from self._pass_tail(body, item)
        elif item is Mark.HEADERS:
            yield from self._pass_headers(body)
        elif item is Mark.CUT:
            yield from self._cut("cut", "cut off by policy", reset=body.plan.cut_resets)
        else:
            yield from self._block(body)

    def _pass_headers(self, body: Body) -> layer.CommandGenerator[None]:
        """A relayed connection has none."""
        yield from ()

    def _pass_bytes(self, body: Body, data: bytes) -> layer.CommandGenerator[None]:
        raise NotImplementedError

    def _pass_tail(self, body: Body, tail: Tail) -> layer.CommandGenerator[None]:
        raise NotImplementedError

    def _block(self, body: Body) -> layer.CommandGenerator[None]:
        """It is too late to answer, or nobody there who would understand an answer."""
        yield from self._cut("blocked", "reset by policy", reset=True)

    def _cut(self, outcome: str, reason: str, *, reset: bool) -> layer.CommandGenerator[None]:
        """End the exchange where it is."""
        raise NotImplementedError

    def _unsent(self, receiver: Connection) -> Callable[[], int]:
        """Tells what waits in the proxy for that peer's socket."""
        found: list[Callable[[], int]] = []

        def unsent_bytes() -> int:
            if not found:
                found.append(self.engine.connections.unsent_bytes(self.context.client, receiver))
            return found[0]()

        return unsent_bytes

    def _reader_of(self, sender: Connection) -> Callable[[], PausableReader | None]:
        return lambda: self.engine.connections.reader_under(self.context, sender)
