"""Back-pressure: what a paced body has not passed on is not read from its sender either.

Rule: whoever is not paced must not notice.  A connection on which nothing can be paced is
mitmproxy's own, to the frame.

*HTTP/1 and relayed bytes*: one body at a time has the connection, so reading is paused
(pausable_reader.py).  asyncio by itself takes up to 256 KiB per read and holds 128 KiB per reader;
both are made small while a body is paced.

*HTTP/2*: a connection carries many bodies, so each stream's flow-control window does it.
mitmproxy announces windows of 2^31-1 bytes and acknowledges at once.  `PacedHttp2Client` (towards
an origin) and `PacedHttp2Server` (towards a client) do so too until something could be paced on
them.  Then:

- SETTINGS_INITIAL_WINDOW_SIZE is 64 KiB, from the connection's start or by a SETTINGS frame while
  it lasts; when nothing can be paced any more, it is raised again.
- A stream is *limited* from its message's headers to its end, or until `OpenWindow` says that it is
  not paced.  For a limited stream holds

      what its peer may still send + what it has sent and we have not passed on  <=  its window

  with a window as `OpenWindow` says, any number of times: raised, the difference is allowed at
  once; lowered, what is passed on is not acknowledged until the sum fits.
- The *connection's* window is given back as data comes, for limited streams too: what a stream has
  in the proxy is bounded by its own window, so no end of a stream can leave a debt behind.

A change of SETTINGS_INITIAL_WINDOW_SIZE moves the windows of all open streams by the difference
(RFC 9113, 6.9.2), below zero if need be.  h2 counts that when the peer acknowledges, and believes
any acknowledgement to be of all that was sent: so there is one change at a time, and what is to be
given back after it waits for the acknowledgement.  A window that we raise by WINDOW_UPDATE goes to
2^30 and no further, which leaves room for a raised setting: 2^30 + 2^30 - 64 KiB < 2^31.

HTTP/3 has no such lever: aioquic acknowledges by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import h2.connection
import h2.events
import h2.stream
from h2.settings import SettingCodes
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers.http import _events as http_events
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._http2 import (
    Http2Client,
    Http2Connection,
    Http2Server,
    StreamState,
)

from .pausable_reader import (
    LARGE_BYTES,
    PausableReader,
    pausable,
    reader_of,
)
from .wake import Waker

__all__ = [
    "LARGE_BYTES",
    "Acknowledge",
    "OpenWindow",
    "PacedHttp2Client",
    "PacedHttp2Connection",
    "PacedHttp2Server",
    "PausableReader",
    "pausable",
    "reader_of",
    "window_bytes",
]

# HTTP/2: what a limited stream may have under way, at least.  64 KiB is the protocol's own default:
# it holds for streams that begin before our SETTINGS have reached the peer.  A higher rate needs
# more to be kept up over a distance of 250 ms.
STREAM_WINDOW_BYTES = 65_535
WINDOW_S = 0.25
LARGEST_WINDOW_BYTES = 4 * 1024 * 1024
UNLIMITED_WINDOW_BYTES = 2**30  # of a stream that is not paced beside others that are
MAX_WINDOW_BYTES = 2**31 - 1  # the protocol's largest, and mitmproxy's own
# A WINDOW_UPDATE is sent for this part of a window: less costs frames, more costs rate over a long
# distance, since what was passed on and not yet told is missing from the window.
UPDATES_PER_WINDOW = 8
CONNECTION_UPDATE_BYTES = 1024 * 1024  # of a window of 2^31-1


def window_bytes(rate_bytes_per_s: float, at_most_bytes: float = math.inf) -> int:
    """What a stream at that rate (infinity: as fast as may be) may have under way."""
    size = min(rate_bytes_per_s * WINDOW_S, LARGEST_WINDOW_BYTES, at_most_bytes)
    return int(max(size, STREAM_WINDOW_BYTES))


@dataclass
class OpenWindow(HttpEvent):
    """A body may have this rate from now on (bytes/s; infinity: as fast as may be, but still
    acknowledged as it is passed on); None: it is not paced.

    To be sent when a message's headers were looked at, whenever what they get changes, and with
    None when a body is let go before its end.  `at_most_bytes` bounds what may be in the proxy or
    under way to it, counted down by what is acknowledged: what is left of a quota, beyond which
    another rate will hold.  A rate of None is then the full speed.  A stream's smallest window
    (64 KiB) is always there.
    """

    rate_bytes_per_s: float | None
    at_most_bytes: int | None = None

    @property
    def is_paced(self) -> bool:
        return self.rate_bytes_per_s is not None or self.at_most_bytes is not None


@dataclass
class Acknowledge(HttpEvent):
    """That many bytes of a paced body have been passed on to the other side."""

    size: int


class StreamWindow:
    """What a limited stream's peer may have under way, and what of it has come."""

    __slots__ = ("_at_most_bytes", "_rate_bytes_per_s", "owed_bytes")

    def __init__(self) -> None:
        self.owed_bytes = 0  # have come, are not passed on
        self._rate_bytes_per_s = 0.0  # the smallest window until somebody has decided
        self._at_most_bytes = math.inf

    def __repr__(self) -> str:
        return f"StreamWindow({self.size_bytes} B, owes {self.owed_bytes} B)"

    @property
    def size_bytes(self) -> int:
        return window_bytes(self._rate_bytes_per_s, self._at_most_bytes)

    def open(self, rate_bytes_per_s: float | None, at_most_bytes: int | None) -> None:
        self._rate_bytes_per_s = math.inf if rate_bytes_per_s is None else rate_bytes_per_s
        self._at_most_bytes = math.inf if at_most_bytes is None else at_most_bytes

    def acknowledge(self, size: int) -> None:
        self.owed_bytes -= min(size, self.owed_bytes)
        self._at_most_bytes -= size


class PacedHttp2Connection(Http2Connection):
    """An HTTP/2 connection whose peer may send on a paced stream as much as was passed on."""

    limits_streams: bool
    """A stream gets no more than the smallest window until an `OpenWindow` comes for it."""
    Headers: ClassVar[type[h2.events.Event]]  # what begins a message from the peer
    throttles: ClassVar[Callable[[], bool]]
    """Whether the throttle has not stopped: behind that, new streams are mitmproxy's own, which
    neither open windows nor acknowledge"""

    _windows: dict[int, StreamWindow]  # of limited streams, by this connection's own ids
    _changes_under_way: int  # SETTINGS that the peer has not acknowledged
    _unacknowledged_bytes: int  # of the connection's window
    _has_paced = False  # a stream although the policy did not let it seem possible

    def __init__(self, ctx: context.Context) -> None:
        super().__init__(ctx)  # type: ignore[call-arg]  # the next class is Http2Client or -Server
        self._windows = {}
        self._unacknowledged_bytes = 0
        self._changes_under_way = 1  # the first, which begins the connection
        self.limits_streams = self.might_pace()
        if self.limits_streams:
            self.h2_conn.local_settings.initial_window_size = STREAM_WINDOW_BYTES
            self.h2_conn.local_settings.acknowledge()

    def might_pace(self) -> bool:
        """Whether the policy in force could pace anything that comes over this connection."""
        raise NotImplementedError

    def own_stream_id(self, stream_id: int) -> int | None:
        """This connection's id of a stream; None if it has none (yet)."""
        raise NotImplementedError

    # Plain functions that give a generator, mostly mitmproxy's own: one of ours around it would
    # cost at each of its commands, whether the stream is paced or not.

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, (OpenWindow, Acknowledge)):
            return self._adjust(event)
        if isinstance(event, http_events.RequestHeaders):
            self._follow_policy()  # goes out before them
        elif isinstance(event, events.Wakeup) and isinstance(event.command, Waker):
            return self._policy_changed()  # others are mitmproxy's own, to keep connections alive
        elif isinstance(
            event, (http_events.RequestProtocolError, http_events.ResponseProtocolError)
        ):
            return self._give_up(event)
        return super()._handle_event(event)

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, h2.events.DataReceived):
            if (window := self._windows.get(event.stream_id)) is not None:
                return self._receive(event, window)
        elif isinstance(event, self.Headers):
            self._follow_policy()
            if self.limits_streams:
                self._begin_limited(event.stream_id)  # type: ignore[attr-defined]  # both kinds have one
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            self._windows.pop(event.stream_id, None)
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self._settings_acknowledged(event)
        return super().handle_h2_event(event)

    def close_connection(self, msg: str) -> layer.CommandGenerator[None]:
        self._windows.clear()
        return super().close_connection(msg)

    # -- what comes

    def _receive(
        self, event: h2.events.DataReceived, window: StreamWindow
    ) -> layer.CommandGenerator[bool]:
        self._acknowledge_to_connection(event.flow_controlled_length)
        window.owed_bytes += len(event.data)
        self._replenish(event.stream_id, window)  # its padding
        if event.data or not event.stream_ended:
            yield ReceiveHttp(self.ReceiveData(event.stream_id, event.data))
        return False

    def _acknowledge_to_connection(self, size: int) -> None:
        self._unacknowledged_bytes += size
        if self._unacknowledged_bytes >= CONNECTION_UPDATE_BYTES and not self._is_lost():
            self.h2_conn.increment_flow_control_window(self._unacknowledged_bytes)
            self._unacknowledged_bytes = 0

    # -- what our streams say

    def _adjust(self, event: OpenWindow | Acknowledge) -> layer.CommandGenerator[None]:
        own = self.own_stream_id(event.stream_id)
        if own is None:
            return
        window = self._windows.get(own)
        if isinstance(event, Acknowledge):
            if window is not None:
                window.acknowledge(event.size)
                self._replenish(own, window)
        elif not event.is_paced:
            self._stop_limiting(own)
        elif self._may_receive(own):
            if window is None:
                window = self._limit(own)
            window.open(event.rate_bytes_per_s, event.at_most_bytes)
            self._replenish(own, window, at_once=True)
        if data := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, data)

    def _give_up(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """Reset the stream, or answer with an error while the peer may still be sending."""
        stream_id = event.stream_id
        yield from super()._handle_event(event)
        if (own := self.own_stream_id(stream_id)) is not None:
            self._stop_limiting(own)
            if data := self.h2_conn.data_to_send():
                yield commands.SendData(self.conn, data)

    def _limit(self, stream_id: int) -> StreamWindow:
        """Pace a stream that had begun without limits."""
        window = self._windows[stream_id] = StreamWindow()
        if not self.limits_streams:
            self._has_paced = self._has_paced or not self.might_pace()
            self._follow_policy()
        return window

    def _begin_limited(self, stream_id: int) -> None:
        """A message has begun whose stream has the smallest window by our SETTINGS."""
        if type(self).throttles():
            self._windows[stream_id] = StreamWindow()
        else:
            self._raise_to(UNLIMITED_WINDOW_BYTES, stream_id)

    def _stop_limiting(self, stream_id: int) -> None:
        if self._windows.pop(stream_id, None) is not None:
            self._raise_to(UNLIMITED_WINDOW_BYTES, stream_id)

    # -- windows

    def _is_lost(self) -> bool:
        closed = h2.connection.ConnectionState.CLOSED
        return self.h2_conn.state_machine.state is closed

    def _may_receive(self, stream_id: int) -> bool:
        """Whether that stream's peer has not ended it yet."""
        stream = self.h2_conn.streams.get(stream_id)
        return (
            stream is not None
            and not self._is_lost()
            and stream.state_machine.state
            in (h2.stream.StreamState.OPEN, h2.stream.StreamState.HALF_CLOSED_LOCAL)
        )

    def _replenish(self, stream_id: int, window: StreamWindow, *, at_once: bool = False) -> None:
        size = window.size_bytes
        step = 1 if at_once else size // UPDATES_PER_WINDOW
        self._raise_to(size - window.owed_bytes, stream_id, step)

    def _raise_to(self, size: int, stream_id: int, step: int = 1) -> None:
        """Let the peer send `size` bytes from now on, if that is more than it may by `step`."""
        if self._may_receive(stream_id):
            missing = size - self.h2_conn.streams[stream_id].inbound_flow_control_window
            if missing >= step:
                self.h2_conn.increment_flow_control_window(missing, stream_id)

    def _policy_changed(self) -> layer.CommandGenerator[None]:
        """Told by a wake-up: what comes next may come all at once."""
        self._follow_policy()
        if data := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, data)

    def _follow_policy(self) -> None:
        """Change the window of streams to come, where the policy has changed."""
        wanted = type(self).throttles() and (self._has_paced or self.might_pace())
        if wanted is self.limits_streams or self._changes_under_way or self._is_lost():
            return
        if not wanted and self._windows:
            return  # they would be raised with all others
        if wanted:
            # What they have sent would be taken away again: give it back before.
            for stream_id in self._unlimited_streams():
                self._raise_to(MAX_WINDOW_BYTES, stream_id)
        self.limits_streams = wanted
        self._changes_under_way += 1
        initial = STREAM_WINDOW_BYTES if wanted else UNLIMITED_WINDOW_BYTES
        self.h2_conn.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: initial})

    def _settings_acknowledged(self, event: h2.events.SettingsAcknowledged) -> None:
        self._changes_under_way = max(self._changes_under_way - 1, 0)
        if self.limits_streams and SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            for stream_id in self._unlimited_streams():
                self._raise_to(UNLIMITED_WINDOW_BYTES, stream_id)
            for stream_id, window in self._windows.items():
                self._replenish(stream_id, window, at_once=True)
        self._follow_policy()

    def _unlimited_streams(self) -> list[int]:
        """Those whose message has begun: of the others nobody knows yet."""
        return [
            stream_id
            for stream_id, state in self.streams.items()
            if state is StreamState.HEADERS_RECEIVED and stream_id not in self._windows
        ]


class PacedHttp2Client(PacedHttp2Connection, Http2Client):
    """Towards an origin: responses are paced."""

    Headers = h2.events.ResponseReceived
    might_match_any: ClassVar[Callable[[set[str | None]], bool]]

    def might_pace(self) -> bool:
        return type(self).might_match_any(names_of(self.context.server))

    def own_stream_id(self, stream_id: int) -> int | None:
        return self.our_stream_id.get(stream_id)


class PacedHttp2Server(PacedHttp2Connection, Http2Server):
    """Towards a client: uploads are paced."""

    Headers = h2.events.RequestReceived
    paces_uploads: ClassVar[Callable[[], bool]]
    began: ClassVar[Callable[[layer.Layer], None]] = staticmethod(lambda connection: None)
    """is given each connection, to wake it when the policy changes"""

    def __init__(self, ctx: context.Context) -> None:
        super().__init__(ctx)
        type(self).began(self)

    def might_pace(self) -> bool:
        return type(self).paces_uploads()

    def own_stream_id(self, stream_id: int) -> int | None:
        return stream_id


def names_of(connection: Server) -> set[str | None]:
    """What a connection to an origin is known by."""
    return {connection.sni, connection.address[0] if connection.address else None}
