"""Windows as an HTTP/2 peer sees them, and readers that wait: no sockets, a clock that is told."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.stream
import pytest
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import connection, http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http import _events as http_events
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Connection, Http2Server
from mitmproxy.test import taddons

from mitmthrottle.proxy.flow_control import (
    CONNECTION_UPDATE_BYTES,
    LARGEST_WINDOW_BYTES,
    MAX_WINDOW_BYTES,
    STREAM_WINDOW_BYTES,
    UNLIMITED_WINDOW_BYTES,
    Acknowledge,
    OpenWindow,
    PacedHttp2Client,
    PacedHttp2Connection,
    PacedHttp2Server,
    PausableReader,
    window_bytes,
)

ERROR = http_events.ErrorCode.CANCEL


class Policy:
    """Whether anything could be paced, as the policy in force says."""

    def __init__(self, paces: bool) -> None:
        self.paces = paces
        self.stopped = False


class Delivery(NamedTuple):
    when: float
    serial: int
    act: Callable[[], None]


class Link:
    """One of our HTTP/2 connections, h2 on the other end, and a distance between them."""

    peer: h2.connection.H2Connection
    first_of_peer = 1

    def __init__(
        self, layer: Http2Connection, peer_is_client: bool, delay_s: float, settles: bool
    ) -> None:
        self.layer = layer
        self.delay_s = delay_s
        self.now = 0.0
        self.closed = False
        self.settles = settles  # what is under way arrives before anything else is done
        self.received: list[http_events.HttpEvent] = []
        self.got: dict[int, int] = {}  # body bytes handed on, by our stream's id
        self.wire = bytearray()  # all that we have sent
        self.peer_events: list[h2.events.Event] = []
        self.on_body: Callable[[int, int], None] = lambda stream_id, size: None
        self.on_peer: Callable[[], None] = lambda: None
        self._deliveries: list[Delivery] = []
        self._serial = 0
        self.peer = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=peer_is_client, header_encoding=None)
        )
        self.feed(events.Start())
        self.peer.initiate_connection()
        self.flush_peer()
        self.run()

    def _later(self, act: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._deliveries, Delivery(self.now + self.delay_s, self._serial, act))

    def feed(self, event: events.Event) -> None:
        for command in self.layer.handle_event(event):
            if isinstance(command, commands.SendData):
                self.wire += command.data
                self._later(lambda data=bytes(command.data): self._to_peer(data))
            elif isinstance(command, commands.CloseConnection):
                self.closed = True
            elif isinstance(command, ReceiveHttp):
                self.received.append(command.event)
                if isinstance(command.event, (http_events.RequestData, http_events.ResponseData)):
                    size, stream_id = len(command.event.data), command.event.stream_id
                    self.got[stream_id] = self.got.get(stream_id, 0) + size
                    self.on_body(stream_id, size)

    def _to_peer(self, data: bytes) -> None:
        self.peer_events += self.peer.receive_data(data)
        self.on_peer()
        self.flush_peer()

    def flush_peer(self) -> None:
        if data := self.peer.data_to_send():
            self._later(lambda: self.feed(events.DataReceived(self.layer.conn, data)))

    def run(self, until: float | None = None) -> None:
        """Deliver what is under way, up to that time; without one: all of it, if it settles."""
        if until is None and not self.settles:
            return
        while self._deliveries and (until is None or self._deliveries[0].when <= until):
            delivery = heapq.heappop(self._deliveries)
            self.now = max(self.now, delivery.when)
            delivery.act()
        if until is not None:
            self.now = until

    def settle(self) -> None:
        """Deliver all, and go on as before."""
        settles, self.settles = self.settles, True
        self.run()
        self.settles = settles

    def tell(self, event: events.Event) -> None:
        self.feed(event)
        self.run()

    def peer_sends(self, stream_id: int, size: int, padding: int | None = None) -> int:
        """As much of `size` bytes as the peer's windows allow; how much that was."""
        sent = 0
        frame_bytes = self.peer.max_outbound_frame_size
        overhead = 0 if padding is None else padding + 1
        while sent < size:
            room = min(self.peer.local_flow_control_window(stream_id), frame_bytes) - overhead
            if (piece := min(room, size - sent)) <= 0:
                break
            self.peer.send_data(stream_id, bytes(piece), pad_length=padding)
            sent += piece
            self.flush_peer()
        self.run()
        return sent

    def window(self, stream_id: int) -> int:
        """What the peer may send on a stream now, by its own account."""
        return self.peer.streams[stream_id].outbound_flow_control_window

    def peer_may_send(self, stream_id: int) -> bool:
        stream = self.peer.streams.get(stream_id)
        return stream is not None and stream.state_machine.state in (
            h2.stream.StreamState.OPEN,
            h2.stream.StreamState.HALF_CLOSED_REMOTE,
        )

    def frames(self, kind: type[h2.events.Event]) -> list[Any]:
        return [event for event in self.peer_events if isinstance(event, kind)]

    # -- one message whose body the peer sends; gives its id (the same on both sides here)

    def begin(self) -> int:
        raise NotImplementedError

    def give_up(self, stream_id: int) -> None:
        raise NotImplementedError


class OriginLink(Link):
    """Towards an origin, which sends responses."""

    _next = 1

    def ask(self) -> int:
        """A request, as far as the origin."""
        stream_id, self._next = self._next, self._next + 2
        request = http.Request.make("GET", "https://a.example/")
        request.http_version, request.authority = "HTTP/2.0", "a.example"
        self.tell(http_events.RequestHeaders(stream_id, request, True))
        return stream_id

    def begin(self) -> int:
        stream_id = self.ask()
        self.settle()
        self.peer.send_headers(stream_id, [(b":status", b"200")])
        self.flush_peer()
        self.run()
        return stream_id

    def give_up(self, stream_id: int) -> None:
        self.tell(http_events.RequestProtocolError(stream_id, "client gone", ERROR))


class ClientLink(Link):
    """Towards a client, which sends uploads."""

    def begin(self) -> int:
        stream_id = self.peer.get_next_available_stream_id()
        headers = (b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/")
        self.peer.send_headers(stream_id, [*headers, (b":authority", b"a.example")])
        self.flush_peer()
        self.run()
        return stream_id

    def give_up(self, stream_id: int) -> None:
        self.tell(http_events.ResponseProtocolError(stream_id, "cut off", ERROR))


@contextmanager
def contexts() -> Iterator[context.Context]:
    with taddons.context(Proxyserver()) as tctx:
        client = connection.Client(
            peername=("198.18.0.7", 5000),
            sockname=("127.0.0.1", 8080),
            state=connection.ConnectionState.OPEN,
            alpn=b"h2",
        )
        ctx = context.Context(client, tctx.options)
        ctx.server = connection.Server(address=("a.example", 443), alpn=b"h2")
        ctx.server.state = connection.ConnectionState.OPEN
        yield ctx


BARE: dict[str, tuple[type[Http2Connection], type[Link]]] = {
    "origin": (Http2Client, OriginLink),
    "client": (Http2Server, ClientLink),
}


@contextmanager
def link(
    kind: str, policy: Policy | None = None, delay_s: float = 0.0, *, settles: bool = True
) -> Iterator[Any]:
    """A connection of ours to an `origin` or a `client`; mitmproxy's own without a policy."""
    layer, face = BARE[kind]
    runs = staticmethod(lambda: policy is not None and not policy.stopped)
    if policy is not None and kind == "origin":
        asked = staticmethod(lambda names: policy.paces and "a.example" in names)
        layer = type("Ours", (PacedHttp2Client,), {"might_match_any": asked, "throttles": runs})
    elif policy is not None:
        asked = staticmethod(lambda: policy.paces)
        layer = type("Ours", (PacedHttp2Server,), {"paces_uploads": asked, "throttles": runs})
    with contexts() as ctx:
        yield face(layer(ctx), kind == "client", delay_s, settles)  # type: ignore[call-arg]


both = pytest.mark.parametrize("kind", ["origin", "client"])


def kept(it: Link) -> dict[int, Any]:
    assert isinstance(it.layer, PacedHttp2Connection)
    return it.layer._windows


def connection_debt(it: Link) -> int:
    """What of the connection's window the peer will never get back."""
    window = it.layer.h2_conn._inbound_flow_control_window_manager
    given_back_soon = window._bytes_processed + it.layer._unacknowledged_bytes
    assert it.peer.outbound_flow_control_window <= MAX_WINDOW_BYTES
    return MAX_WINDOW_BYTES - window.current_window_size - given_back_soon


# -- ends


def end_by_us(it: Link, stream_id: int) -> None:
    it.give_up(stream_id)


def end_by_peer_reset(it: Link, stream_id: int) -> None:
    it.peer.reset_stream(stream_id)
    it.flush_peer()
    it.run()


def end_by_peer(it: Link, stream_id: int) -> None:
    it.peer.end_stream(stream_id)
    it.flush_peer()
    it.run()


def end_unpaced(it: Link, stream_id: int) -> None:
    it.tell(OpenWindow(stream_id, None))


@both
@pytest.mark.parametrize("end", [end_by_us, end_by_peer_reset, end_by_peer, end_unpaced])
def test_no_end_of_a_stream_leaves_the_connection_less(
    kind: str, end: Callable[[Link, int], None]
) -> None:
    with link(kind, Policy(True)) as it:
        for _ in range(6):
            stream_id = it.begin()
            it.tell(OpenWindow(stream_id, math.inf))
            assert it.peer_sends(stream_id, 2**31) == LARGEST_WINDOW_BYTES
            it.tell(Acknowledge(stream_id, 1000))
            end(it, stream_id)
            assert kept(it) == {}
        assert connection_debt(it) == 0
        missing = MAX_WINDOW_BYTES - it.peer.outbound_flow_control_window
        assert missing < CONNECTION_UPDATE_BYTES
        assert not it.closed


@both
def test_what_a_stream_owes_is_not_taken_from_the_connection_while_it_lasts(kind: str) -> None:
    with link(kind, Policy(True)) as it:
        for _ in range(6):
            it.tell(OpenWindow(stream_id := it.begin(), math.inf))
            it.peer_sends(stream_id, 2**31)
        assert connection_debt(it) == 0


@both
def test_data_that_comes_after_our_reset_is_given_back(kind: str) -> None:
    with link(kind, Policy(True), delay_s=0.1) as it:
        for _ in range(3):
            stream_id = it.begin()
            it.tell(OpenWindow(stream_id, math.inf))
            for _ in range(30):
                it.peer.send_data(stream_id, bytes(it.peer.max_outbound_frame_size))
                it.flush_peer()
            it.give_up(stream_id)
            assert stream_id not in it.got
            assert kept(it) == {}
        assert connection_debt(it) == 0
        assert not it.closed
        it.tell(OpenWindow(stream_id := it.begin(), None))
        assert it.peer_sends(stream_id, 8_000_000) == 8_000_000


@both
@pytest.mark.parametrize("how", ["goaway", "lost", "faulty"])
def test_a_lost_connection_keeps_nothing(kind: str, how: str) -> None:
    with link(kind, Policy(True)) as it:
        stream_id = it.begin()
        it.tell(OpenWindow(stream_id, math.inf))
        it.peer_sends(stream_id, 900_000)
        if how == "goaway":
            # in one piece with more data: h2 is closed before we hear of that
            padded = it.begin()
            for _ in range(30):
                it.peer.send_data(stream_id, bytes(16_000))
            for _ in range(100):
                it.peer.send_data(padded, b"x", pad_length=255)
            it.peer.close_connection()
            it.flush_peer()
            it.run()
        elif how == "lost":
            it.tell(events.ConnectionClosed(it.layer.conn))
        else:
            it.tell(events.DataReceived(it.layer.conn, b"\0\0\0\0\0\0\0\0\0" * 3))
        assert it.closed
        assert kept(it) == {}
        it.tell(OpenWindow(stream_id, 1e6))
        it.tell(Acknowledge(stream_id, 1000))
        assert kept(it) == {}


def test_an_error_page_lets_the_rest_of_an_upload_come() -> None:
    with link("client", Policy(True)) as it:
        stream_id = it.begin()
        it.tell(OpenWindow(stream_id, 1e4))
        assert it.peer_sends(stream_id, 2**20) == STREAM_WINDOW_BYTES
        code = http_events.ErrorCode.CONNECT_FAILED
        it.tell(http_events.ResponseProtocolError(stream_id, "no such host", code))
        assert it.frames(h2.events.ResponseReceived)
        assert it.peer_sends(stream_id, 2**22) == 2**22
        assert kept(it) == {}


# -- windows


@both
def test_before_anybody_has_decided_the_smallest_window_holds(kind: str) -> None:
    with link(kind, Policy(True)) as it:
        stream_id = it.begin()
        assert it.peer_sends(stream_id, 2**20) == STREAM_WINDOW_BYTES
        it.tell(OpenWindow(stream_id, None))
        assert it.window(stream_id) == UNLIMITED_WINDOW_BYTES
        assert it.peer_sends(stream_id, 2**22) == 2**22
        assert it.got[stream_id] == STREAM_WINDOW_BYTES + 2**22


@both
def test_a_window_follows_its_rate_up_and_down(kind: str) -> None:
    with link(kind, Policy(True)) as it:
        stream_id = it.begin()
        for rate in (16_000.0, 1e6, 1.02e6, 8e6, 1e9, math.inf):
            it.tell(OpenWindow(stream_id, rate))
            assert it.window(stream_id) == window_bytes(rate)
        assert it.peer_sends(stream_id, 2**31) == LARGEST_WINDOW_BYTES
        it.tell(OpenWindow(stream_id, 16_000.0))
        wire = len(it.wire)
        excess = LARGEST_WINDOW_BYTES - STREAM_WINDOW_BYTES
        for _ in range(excess // 16_384):
            it.tell(Acknowledge(stream_id, 16_384))
        assert len(it.wire) == wire  # until what is under way fits
        assert it.window(stream_id) == 0
        it.tell(Acknowledge(stream_id, 40_000))
        assert it.window(stream_id) == 40_000 + excess // 16_384 * 16_384 - excess
        it.tell(Acknowledge(stream_id, 2**31))
        assert it.window(stream_id) == STREAM_WINDOW_BYTES


@both
def test_no_more_than_is_left_of_a_quota_is_under_way(kind: str) -> None:
    with link(kind, Policy(True)) as it:
        stream_id = it.begin()
        it.tell(OpenWindow(stream_id, None, at_most_bytes=1_000_000))
        sent = it.peer_sends(stream_id, 300_000)
        it.tell(Acknowledge(stream_id, sent))
        sent += it.peer_sends(stream_id, 2**31)
        assert sent == 1_000_000
        assert it.window(stream_id) == 0
        it.tell(OpenWindow(stream_id, None, at_most_bytes=500_000))  # some more was granted
        assert it.window(stream_id) + kept(it)[stream_id].owed_bytes <= max(500_000, sent)
        it.tell(OpenWindow(stream_id, 16_000.0))
        it.tell(Acknowledge(stream_id, 2**31))
        assert it.window(stream_id) == STREAM_WINDOW_BYTES


@both
def test_padding_is_given_back(kind: str) -> None:
    with link(kind, Policy(True)) as it:
        stream_id = it.begin()
        it.tell(OpenWindow(stream_id, 16_000.0))
        for _ in range(2000):
            assert it.peer_sends(stream_id, 1, padding=255) == 1
        it.tell(Acknowledge(stream_id, 2000))
        assert it.window(stream_id) > STREAM_WINDOW_BYTES * 0.8
        assert it.got[stream_id] == 2000


def test_a_raised_rate_is_reached_over_a_distance() -> None:
    """128 kbit/s becomes 100 Mbit/s; the origin is 100 ms away, each way."""
    slow, fast = 16_000.0, 12.5e6
    with link("origin", Policy(True)) as it:
        stream_id = it.begin()
        it.delay_s = 0.1
        it.feed(OpenWindow(stream_id, slow))
        waiting = passed_on = untold = 0

        def came(_: int, size: int) -> None:
            nonlocal waiting
            waiting += size

        def send_all() -> None:
            while room := min(it.peer.local_flow_control_window(stream_id), 16_384):
                it.peer.send_data(stream_id, bytes(room))
            it.flush_peer()

        it.on_body, it.on_peer = came, send_all
        send_all()
        rate, tick_s = slow, 0.01
        log: list[int] = []
        for tick in range(400):
            it.run(tick * tick_s)
            if tick == 100:
                rate = fast
                it.feed(OpenWindow(stream_id, fast))
            piece = min(waiting, int(rate * tick_s))
            waiting -= piece
            passed_on += piece
            untold += piece
            if untold >= 16_384:
                it.feed(Acknowledge(stream_id, untold))
                untold = 0
            log.append(passed_on)
        # of the second second after the change
        assert log[299] - log[199] >= 0.9 * fast
        assert log[99] - log[49] == pytest.approx(slow / 2, rel=0.02)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("window"),
            st.sampled_from([1e3, 16e3, 1e6, 12.5e6, 1e12, math.inf]),
            st.one_of(st.none(), st.integers(0, 6_000_000)),
        ),
        st.tuples(st.just("send"), st.integers(1, 5_000_000), st.sampled_from([None, 0, 255])),
        st.tuples(st.just("acknowledge"), st.integers(0, 300_000)),
        st.tuples(st.just("unpaced")),
        st.tuples(st.just("begin")),
        st.tuples(st.just("policy"), st.booleans()),
        st.tuples(st.just("settle"), st.booleans()),
        st.tuples(st.just("end"), st.sampled_from([end_by_us, end_by_peer, end_by_peer_reset])),
    ),
    max_size=25,
)


@both
@given(paces=st.booleans(), steps=steps)
@settings(deadline=None, max_examples=60)
def test_the_arithmetic_holds_whatever_happens(
    kind: str, paces: bool, steps: list[tuple[Any, ...]]
) -> None:
    policy = Policy(paces)
    with link(kind, policy) as it:
        stream_id = it.begin()
        outstanding: tuple[object, int] = (None, 0)
        for what, *values in steps:
            if what == "window":
                it.tell(OpenWindow(stream_id, *values))
            elif what == "send" and it.peer_may_send(stream_id):
                it.peer_sends(stream_id, *values)
            elif what == "acknowledge":
                it.tell(Acknowledge(stream_id, *values))
            elif what == "unpaced":
                it.tell(OpenWindow(stream_id, None))
            elif what == "begin":
                it.settle()
                stream_id = it.begin()
            elif what == "policy":
                policy.paces = values[0]
            elif what == "settle":
                it.settle()
                it.settles = values[0]
            elif what == "end" and it.peer_may_send(stream_id):
                values[0](it, stream_id)
            assert not it.closed
            assert it.frames(h2.events.ConnectionTerminated) == []
            assert connection_debt(it) == 0
            window = kept(it).get(stream_id)
            if not it.layer._may_receive(stream_id):
                assert window is None
                continue
            ours = it.layer.h2_conn.streams[stream_id].inbound_flow_control_window
            assert ours <= MAX_WINDOW_BYTES
            if it.settles:
                assert it.window(stream_id) == ours
            if window is not None:
                now = ours + window.owed_bytes
                # No more is allowed than its window, and no more than an update is missing.
                if outstanding[0] is window:
                    assert now <= max(window.size_bytes, outstanding[1])
                if it.settles:
                    assert now > window.size_bytes * 7 // 8 - 256
                outstanding = (window, now)
            elif it.settles:
                assert ours >= UNLIMITED_WINDOW_BYTES // 2


# -- whoever is not paced


def exchange(it: Any) -> bytes:
    """Bodies of several sizes, to their ends: all that we send for them."""
    for size in (0, 1000, 70_000, 3_000_000):
        stream_id = it.begin()
        it.peer_sends(stream_id, size)
        end_by_peer(it, stream_id)
    stream_id = it.begin()
    it.peer_sends(stream_id, 100_000)
    it.give_up(stream_id)
    return bytes(it.wire)


@both
def test_where_nothing_can_be_paced_every_frame_is_mitmproxys(kind: str) -> None:
    with link(kind) as bare:
        expected = exchange(bare)
    with link(kind, Policy(False)) as ours:
        assert exchange(ours) == expected
        ours.tell(OpenWindow(1, None))
        ours.tell(Acknowledge(1, 1000))
        assert bytes(ours.wire) == expected


@pytest.mark.parametrize("paces", [False, True])
def test_an_idle_connection_to_an_origin_is_kept_alive_as_by_mitmproxy(
    paces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour_later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: hour_later)
    said = []
    for policy in (None, Policy(paces)):
        with link("origin", policy) as it:
            monkeypatch.setattr(it.layer, "last_activity", hour_later - 3600)
            said.append([*it.layer.handle_event(events.Wakeup(commands.RequestWakeup(58)))])
    bare, ours = said
    assert [type(each) for each in bare] == [
        commands.Log,
        commands.SendData,
        commands.RequestWakeup,
    ]
    assert [type(each) for each in ours] == [type(each) for each in bare]
    assert ours[1].data == bare[1].data


# -- a policy that changes while a connection lasts


def initial_windows(it: Link) -> list[int]:
    """Those that the peer was told of, in order."""
    return [
        event.changed_settings[SettingCodes.INITIAL_WINDOW_SIZE].new_value
        for event in it.frames(h2.events.RemoteSettingsChanged)
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings
    ]


@both
def test_a_policy_that_comes_later_holds_for_new_streams_of_a_connection(kind: str) -> None:
    policy = Policy(False)
    with link(kind, policy, delay_s=0.05) as it:
        running = it.begin()
        it.peer_sends(running, 3_000_000)
        policy.paces = True
        lowest = [0]
        it.on_peer = lambda: lowest.append(it.window(running))
        paced = it.begin()
        # until we have heard that its peer knows, it keeps 64 KiB, whatever it has sent
        assert min(lowest[1:]) == STREAM_WINDOW_BYTES
        assert initial_windows(it) == [MAX_WINDOW_BYTES, STREAM_WINDOW_BYTES]
        it.tell(OpenWindow(paced, 16_000.0))
        assert it.window(paced) <= STREAM_WINDOW_BYTES
        it.peer_sends(paced, 2**20)
        assert it.got[paced] == STREAM_WINDOW_BYTES
        # who runs goes on at full speed
        assert it.window(running) == UNLIMITED_WINDOW_BYTES
        assert it.peer_sends(running, 5_000_000) == 5_000_000
        it.tell(Acknowledge(paced, 2**31))
        assert it.window(paced) == STREAM_WINDOW_BYTES


@both
def test_windows_are_raised_again_when_nothing_can_be_paced(kind: str) -> None:
    policy = Policy(True)
    with link(kind, policy) as it:
        paced = it.begin()
        running = it.begin()
        it.tell(OpenWindow(paced, 1e6))
        it.tell(OpenWindow(running, None))
        for _ in range(2):
            policy.paces = False
            it.begin()
            assert initial_windows(it)[-1] == STREAM_WINDOW_BYTES  # not while one is limited
            for stream_id in list(kept(it)):
                it.tell(OpenWindow(stream_id, None))
            it.begin()
            assert initial_windows(it)[-1] == UNLIMITED_WINDOW_BYTES
            free = it.begin()
            assert it.window(free) == UNLIMITED_WINDOW_BYTES
            assert UNLIMITED_WINDOW_BYTES < it.window(running) <= MAX_WINDOW_BYTES
            policy.paces = True
            it.begin()
            assert initial_windows(it)[-1] == STREAM_WINDOW_BYTES
            assert it.window(running) >= UNLIMITED_WINDOW_BYTES
            assert it.peer_sends(running, 2**20) == 2**20
        assert not it.closed


@both
@pytest.mark.parametrize("open_one", [True, False])
@pytest.mark.parametrize("foreseen", [True, False])
def test_streams_that_begin_when_the_throttle_has_stopped_are_not_limited(
    kind: str, open_one: bool, foreseen: bool
) -> None:
    """They are mitmproxy's own, which says nothing of windows."""
    policy = Policy(foreseen)
    with link(kind, policy) as it:
        paced = it.begin()
        it.tell(OpenWindow(paced, 16_000.0))
        if not open_one:
            it.tell(OpenWindow(paced, None))
        policy.paces, policy.stopped = False, True
        for _ in range(3):
            stream_id = it.begin()
            assert it.peer_sends(stream_id, 2**20) == 2**20
            assert it.got[stream_id] == 2**20
        it.tell(OpenWindow(paced, None))
        assert it.peer_sends(paced, 2**20) == 2**20
        it.begin()
        assert initial_windows(it)[-1] == UNLIMITED_WINDOW_BYTES
        assert not it.closed


def test_an_origin_hears_of_it_before_the_request() -> None:
    policy = Policy(False)
    with link("origin", policy) as it:
        it.begin()
        policy.paces = True
        stream_id = it.ask()
        assert it.window(stream_id) == STREAM_WINDOW_BYTES
        last = {type(event): place for place, event in enumerate(it.peer_events)}
        assert last[h2.events.RemoteSettingsChanged] < last[h2.events.RequestReceived]
        assert initial_windows(it)[-1] == STREAM_WINDOW_BYTES


def test_no_change_of_settings_before_the_first_are_acknowledged() -> None:
    """h2 would take that acknowledgement for one of the change: it would count with a window that
    its peer does not know of yet, and end the connection."""
    policy = Policy(False)
    with link("client", policy, delay_s=0.1, settles=False) as it:
        policy.paces = True
        stream_id = it.begin()
        it.run(0.15)  # the request has come, the acknowledgement has not
        assert it.layer._changes_under_way == 1
        it.feed(OpenWindow(stream_id, 16_000.0))
        assert it.peer_sends(stream_id, 500_000) == 500_000  # at its old window
        it.run(5.0)
        assert not it.closed
        assert it.got[stream_id] == 500_000
        assert initial_windows(it)[-1] == STREAM_WINDOW_BYTES
        assert it.window(stream_id) == STREAM_WINDOW_BYTES - 500_000
        it.feed(Acknowledge(stream_id, 500_000))
        it.run(6.0)
        assert it.window(stream_id) == STREAM_WINDOW_BYTES


@both
def test_a_rule_that_nobody_foresaw_still_has_its_window(kind: str) -> None:
    """The host of a request may be another one than its connection's."""
    with link(kind, Policy(False)) as it:
        stream_id = it.begin()
        it.tell(OpenWindow(stream_id, 16_000.0))
        assert it.peer_sends(stream_id, 2**20) == STREAM_WINDOW_BYTES
        another = it.begin()
        it.tell(OpenWindow(another, 16_000.0))
        assert it.peer_sends(another, 2**20) == STREAM_WINDOW_BYTES
        assert len(initial_windows(it)) == 2  # and none to and fro


# -- readers


def readers() -> tuple[asyncio.StreamReader, PausableReader]:
    below = asyncio.StreamReader()
    return below, PausableReader(below, None)


async def in_turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_paused_reader_waits_and_gives_all_in_order() -> None:
    async def scenario() -> None:
        below, reader = readers()
        reader.pause()
        task = asyncio.create_task(reader.read(4))
        below.feed_data(b"abcdef")
        below.feed_eof()
        await in_turn()
        assert not task.done()
        assert not reader.at_eof()
        reader.resume()
        reader.resume()
        assert await task == b"abcd"
        assert await reader.read(100) == b"ef"
        assert reader.at_eof()
        assert await reader.read(100) == b""

    asyncio.run(scenario())


def test_a_reader_that_is_paused_again_before_its_read_goes_on_keeps_waiting() -> None:
    async def scenario() -> None:
        below, reader = readers()
        below.feed_data(b"abc")
        reader.pause()
        task = asyncio.create_task(reader.read(10))
        await in_turn()
        reader.resume()
        reader.pause()
        await in_turn()
        assert not task.done()
        reader.resume()
        assert await task == b"abc"

    asyncio.run(scenario())


def test_a_read_that_is_cancelled_while_paused_takes_nothing() -> None:
    async def scenario() -> None:
        below, reader = readers()
        reader.pause()
        first, second = (asyncio.create_task(reader.read(10)) for _ in range(2))
        below.feed_data(b"abc")
        await in_turn()
        first.cancel("closed by command")
        with pytest.raises(asyncio.CancelledError):
            await first
        reader.resume()
        assert await second == b"abc"

    asyncio.run(scenario())


def test_what_came_before_an_error_is_read_before_it() -> None:
    async def scenario() -> None:
        below, reader = readers()
        reader.pause()
        task = asyncio.create_task(reader.read(2))
        await in_turn()
        below.feed_data(b"abc")
        below.set_exception(ConnectionResetError())
        reader.resume()
        assert await task == b"ab"
        assert await reader.read(10) == b"c"
        with pytest.raises(ConnectionResetError):
            await reader.read(10)

    asyncio.run(scenario())


def test_a_limited_reader_takes_and_holds_little_and_then_as_before() -> None:
    class Transport:
        max_size = 256 * 1024  # of the class, as asyncio's

    async def scenario() -> None:
        below = asyncio.StreamReader(limit=50_000)
        transport = Transport()
        reader = PausableReader(below, transport)
        below.feed_data(bytes(40_000))
        reader.limit(16_384)
        assert (below._limit, transport.max_size) == (16_384, 16_384)  # type: ignore[attr-defined]
        assert len(await reader.read(65_535)) == 16_384
        reader.limit(None)
        assert (below._limit, transport.max_size) == (50_000, 256 * 1024)  # type: ignore[attr-defined]
        assert len(await reader.read(65_535)) == 40_000 - 16_384

    asyncio.run(scenario())
