"""What is asked for and answered, and what has become of it on either side.

Rule: every byte of every body is known in advance, by the exchange's number and its place, so a
byte that is lost, doubled or in another's place is seen where it arrives.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .loop import VirtualLoop

_BLOCK = random.Random("bytes").randbytes(1 << 20)
_BYTES = _BLOCK * 5
PIECE_BYTES = 64 * 1024
LARGEST_BODY_BYTES = 4 << 20
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


def bytes_of(number: int, way: str, size: int, start: bytes = b"") -> bytes:
    """The body of that exchange."""
    offset = (number * 7919 + (104_729 if way == "up" else 0)) % len(_BLOCK)
    return (start + _BYTES[offset : offset + size])[:size]


class Way:
    """One body on its way, as its sender and its receiver see it."""

    def __init__(self, expected: bytes) -> None:
        self.expected = expected
        self.sent_at = 0.0  # when its sender said something last
        self.sent = 0  # by its sender, into its own socket
        self.taken = 0  # read by the proxy's transport
        self.taken_at = 0.0
        self.sent_all = False
        self.got = 0
        self.wrong = ""
        self.began_at: float | None = None  # the receiver has its headers
        self.complete_at: float | None = None  # the receiver has seen its proper end
        self.lost_at: float | None = None  # its end was another one
        self.arrivals: list[tuple[float, int]] = []

    def __repr__(self) -> str:
        state = "complete" if self.complete_at else "lost" if self.lost_at else "under way"
        return (
            f"{len(self.expected)} B, sent {self.sent}, taken {self.taken}, got {self.got}, {state}"
        )

    @property
    def is_over(self) -> bool:
        return self.complete_at is not None or self.lost_at is not None

    def came(self, data: bytes, now: float) -> None:
        """The receiver has got these."""
        if not data:
            return
        if not self.wrong:
            expected = self.expected[self.got : self.got + len(data)]
            if expected != data:
                at = next(
                    (i for i, (a, b) in enumerate(zip(expected, data, strict=False)) if a != b),
                    len(expected),
                )
                where = self.expected.find(data[at : at + 16])
                self.wrong = f"byte {self.got + at} is not what was sent (it is that of {where})"
        self.got += len(data)
        self.arrivals.append((now, len(data)))


@dataclass
class Exchange:
    """A request and its response, or a connection that is relayed."""

    number: int
    client: int
    host: str
    kind: str = "http"  # http, websocket, upgrade, relay
    method: str = "GET"
    up_bytes: int = 0
    down_bytes: int = 1000
    # What steps may change before it begins:
    status: int = 200
    content_type: str | None = "image/jpeg"
    framing: str = "length"  # length, chunked, eof
    up_framing: str = "length"  # length, chunked
    starts: bytes = b""
    pause: tuple[int, float] | None = None  # the origin is silent after so many bytes, so long
    answer_delay_s: float = 0.0
    ends: tuple[int, str] | None = None  # after so many bytes: close, reset, hang, rst, goaway
    early: bool = False  # the origin answers before it has the request's body
    trailers: bool = False
    at_once: bool = False  # what may be said in one segment with the handshake is
    refused: bool = False  # no connection to the origin
    meddling: tuple[tuple[str, str], ...] = ()  # what another addon does, in which hook
    slow_up: float = 0.0  # seconds between the pieces of the request's body
    # What became of it:
    down: Way = field(init=False)
    up: Way = field(init=False)
    asked_at: float | None = None
    reached_at: float | None = None  # the origin has the request's headers
    answered_at: float | None = None  # the origin has sent its headers
    got_status: int | None = None
    harm: set[str] = field(default_factory=set)  # what was done to it from outside
    answered_by: str = "origin"
    ends_with_connection: bool = False  # its client cannot tell a whole body from a cut one
    cancel: Callable[[], None] | None = None  # what its client can do to it
    origin_cancel: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self.lay_out()

    def lay_out(self) -> None:
        """To be called when what it is has changed."""
        down = 0 if self.method == "HEAD" or self.status in (204, 304) else self.down_bytes
        self.down = Way(bytes_of(self.number, "down", down, self.starts))
        self.up = Way(bytes_of(self.number, "up", self.up_bytes))

    @property
    def path(self) -> str:
        return f"/e/{self.number}"

    @property
    def is_over(self) -> bool:
        if self.kind == "http":
            goes_up = self.reached_at is not None and self.answered_by == "origin"
            waits = goes_up and self.up.expected and not self.harm and self.down.lost_at is None
            return self.down.is_over and (not waits or self.up.is_over)
        return self.down.is_over and self.up.is_over

    def __str__(self) -> str:
        return (
            f"exchange {self.number} ({self.method} {self.kind} {self.host}, client {self.client}; "
            f"down: {self.down}; up: {self.up}; status {self.got_status}; harm {sorted(self.harm)})"
        )


class Answering(Protocol):
    """What an origin's protocol does for an answer."""

    def head(self, exchange: Exchange) -> None: ...
    def data(self, exchange: Exchange, data: bytes) -> int: ...
    def end(self, exchange: Exchange) -> None: ...
    def abort(self, exchange: Exchange, how: str) -> None: ...


class Answer:
    """An origin's answer: the headers, the body with its pauses, and how it ends."""

    def __init__(self, loop: VirtualLoop, exchange: Exchange, line: Answering) -> None:
        self._loop = loop
        self._exchange = exchange
        self._line = line
        self._paused = exchange.pause is None
        self._waits = False
        self.over = False

    def start(self) -> None:
        if self._exchange.answer_delay_s:
            self._loop.call_later(self._exchange.answer_delay_s, self._begin)
        else:
            self._begin()

    def stop(self) -> None:
        self.over = True

    def _begin(self) -> None:
        if self.over:
            return
        self._exchange.answered_at = self._loop.time()
        if self._exchange.ends is not None and self._exchange.ends[0] < 0:
            self._finish()
            return
        self._line.head(self._exchange)
        self.go_on()

    def go_on(self) -> None:
        """Say what may be said now."""
        exchange, way = self._exchange, self._exchange.down
        if self.over or self._waits or exchange.answered_at is None:
            return
        stop = len(way.expected)
        if exchange.ends is not None:
            stop = min(stop, exchange.ends[0])
        while way.sent < stop:
            until = stop
            if not self._paused and exchange.pause is not None:
                if way.sent >= exchange.pause[0]:
                    self._paused = self._waits = True
                    self._loop.call_later(exchange.pause[1], self._resume)
                    return
                until = min(until, exchange.pause[0])
            piece = way.expected[way.sent : min(until, way.sent + PIECE_BYTES)]
            said = self._line.data(exchange, piece)
            if said:
                way.sent_at = self._loop.time()
            else:
                return
        self._finish()

    def _resume(self) -> None:
        self._waits = False
        self.go_on()

    def _finish(self) -> None:
        self.over = True
        how = self._exchange.ends[1] if self._exchange.ends is not None else "complete"
        if how == "complete":
            self._exchange.down.sent_all = True
            self._line.end(self._exchange)
        elif how != "hang":
            self._exchange.harm.add(f"origin {how}")
            self._line.abort(self._exchange, how)
        else:
            self._exchange.harm.add("origin hang")
