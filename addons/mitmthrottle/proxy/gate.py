"""What a paced body holds back, and what it lets out when.

Rule: nothing is lost.  Whatever goes in comes out in the same order and to the same byte; only the
time differs.  No mitmproxy in here and no waiting: `release` says what may pass now and arranges
to be asked again.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mitmproxy.proxy import commands, events

from mitmthrottle.pacing import Pace, Timeline

from .meter import Meter

CLOGGED_POLL_S = 0.02  # first look again at a receiver that does not read
LONGEST_POLL_S = 0.2
# mitmproxy closes a connection on which nothing happens (tcp_timeout 600 s, 20 s over UDP).  A
# wake-up counts as something, so nobody sleeps longer than this.
LONGEST_SLEEP_S = 10.0
HEAD_BYTES = 512  # enough for every magic number we know


class Mark(enum.Enum):
    """Places among what `release` lets out, besides bytes."""

    HEAD = "head"  # the message's headers go here
    CUT = "cut"  # nothing more goes out: end the connection here


# What comes after the bytes: trailers, the end of a message, the closing of a connection.
Last = events.Event | commands.Command
Item = Mark | bytes | Last


class Surroundings(Protocol):
    """What a gate needs from outside: a clock, its place in the schedule, its receiver."""

    def now(self) -> float: ...
    def wake_at(self, when: float) -> None: ...
    def starting(self) -> None: ...
    def submit(self, pace: Pace, size: int) -> bool: ...
    def piece_bytes(self, pace: Pace) -> int: ...
    def is_clogged(self) -> bool: ...


class Gate:
    """A queue of body bytes and of what comes after them: trailers, the end of the message.

    `decide` is asked while the body has to tell what it is: it gets the first bytes (None where
    only the size is in question) and whether that was all, and may give the gate a pace then.
    """

    def __init__(self, around: Surroundings) -> None:
        self.pace: Pace | None = None
        self.timeline: Timeline | None = None
        self.in_line = False  # its turn to start has not come yet
        self.waiting_bytes = 0
        self.seen_bytes = 0
        self.meter = Meter()
        self.head_sent = False
        self.needs_head = False
        self.ask_at_bytes: int | None = None
        self.decide: Callable[[bytes | None, bool], None] | None = None
        self._around = around
        self._opened = self._starts_from = around.now()
        self._held_since: float | None = self._opened
        self._waited_s = 0.0
        self._body: deque[bytes] = deque()
        self._offset = 0  # bytes of the first chunk that are gone already
        self._last: list[Last] = []
        # Kept here, so that an error half-way through `release` loses nothing.
        self._out: list[Item] = []
        self._complete = False
        self._cut = False
        self._granted = 0  # bytes that may leave now
        self._asked = False
        self._poll_s = CLOGGED_POLL_S

    def __repr__(self) -> str:
        return (
            f"Gate({self.waiting_bytes} B waiting, {self.sent_bytes} B sent, "
            f"{'asked' if self._asked else 'idle'}, complete={self._complete}, {self.pace})"
        )

    @property
    def is_empty(self) -> bool:
        return not self.waiting_bytes and not self._last

    @property
    def opened_s_ago(self) -> float:
        """Seconds since the message's headers came."""
        return self._around.now() - self._opened

    @property
    def waited_s(self) -> float:
        """Seconds during which something was held back: headers, bytes or the end."""
        held = self._around.now() - self._held_since if self._held_since is not None else 0.0
        return self._waited_s + held

    @property
    def sent_bytes(self) -> int:
        return self.meter.sent_bytes

    @property
    def measured_bytes_per_s(self) -> float | None:
        """Goodput of what has gone out so far, see meter.py."""
        return self.meter.bytes_per_s

    def push(self, data: bytes) -> None:
        self._hold()
        self._body.append(data)
        self.waiting_bytes += len(data)
        self.seen_bytes += len(data)

    def finish(self, last: Last, complete: bool) -> None:
        """Trailers or the end of the message: they go out behind the body."""
        self._hold()
        self._last.append(last)
        self._complete = self._complete or complete

    def discard(self) -> None:
        """Drop what came from the origin: something else is sent in its place."""
        self._body.clear()
        self._offset = 0
        self._last.clear()
        self.waiting_bytes = 0
        self._complete = False

    def granted(self) -> None:
        """The schedule has let through what was asked for."""
        if self._asked and self.pace is not None and self.pace.claim is not None:
            self._asked = False
            self._granted = self.pace.claim.size

    def repace(self, pace: Pace) -> None:
        """Go on under another pace; a claim under the old one is the caller's to withdraw."""
        self.pace = pace
        self._asked = False

    def turn_has_come(self) -> None:
        self.in_line = False
        self._starts_from = self._around.now()

    def run_free(self) -> None:
        """Hold nothing back from now on."""
        self.decide = None
        self.needs_head = False
        self.in_line = False
        self.timeline = None
        self.pace = None
        self._asked = False

    def learn(self) -> None:
        """Ask `decide` if what has come in since tells more."""
        decide = self.decide
        if decide is None:
            return
        if self.needs_head:
            if self._complete or self.seen_bytes:
                self.needs_head = False
                self.decide = None
                decide(b"".join(self._body)[:HEAD_BYTES], self._complete)
        elif self._complete or self.seen_bytes >= (self.ask_at_bytes or 0):
            self.decide = None
            decide(None, self._complete)

    def release(self) -> list[Item]:
        """What may pass now, in order."""
        if self._cut or not self._may_start():
            return []
        if not self.head_sent:
            self.head_sent = True
            self._around.starting()
            self._out.append(Mark.HEAD)
        while self.waiting_bytes and (size := self._may_send()):
            self._out.append(self._take(size))
        if self.timeline is not None and self.timeline.is_cut(self.sent_bytes):
            self._cut = True
            self._out.append(Mark.CUT)
        elif not self.waiting_bytes:
            self._out += self._last
            self._last.clear()
        if not self.waiting_bytes and self._held_since is not None:
            self._waited_s += self._around.now() - self._held_since
            self._held_since = None
        out, self._out = self._out, []
        return out

    def release_all(self) -> list[Item]:
        """Everything that is held, at once: the sender is gone, or the throttle is."""
        self.run_free()
        return self.release()

    def _hold(self) -> None:
        if self._held_since is None:
            self._held_since = self._around.now()

    def _may_start(self) -> bool:
        """Whether the headers may go; if not, a wake-up is on its way."""
        if self.head_sent:
            return True
        if self.needs_head or self.in_line:
            return False
        if self.pace is not None:
            now = self._around.now()
            start = self._starts_from + self.pace.delay_s
            if start > now:
                self._around.wake_at(min(start, now + LONGEST_SLEEP_S))
                return False
        return True

    def _may_send(self) -> int:
        """How many bytes may leave now; 0: not now, and a wake-up is on its way."""
        if self._granted:
            size = min(self._granted, self.waiting_bytes)
            self._granted = 0
            return size
        if self._asked:
            return 0
        if self.pace is None:
            return self.waiting_bytes
        now = self._around.now()
        if self._around.is_clogged():
            self._around.wake_at(now + self._poll_s)
            self._poll_s = min(2 * self._poll_s, LONGEST_POLL_S)
            return 0
        self._poll_s = CLOGGED_POLL_S
        size = min(self._around.piece_bytes(self.pace), self.waiting_bytes)
        if self.timeline is not None:
            room = self.timeline.room_bytes(self.sent_bytes, now)
            if room <= 0:
                if not self.timeline.is_cut(self.sent_bytes):
                    self._around.wake_at(min(self.timeline.resume_at, now + LONGEST_SLEEP_S))
                return 0
            size = int(min(size, room))
        if self._around.submit(self.pace, size):
            return size
        self._asked = True
        return 0

    def _take(self, size: int) -> bytes:
        """The next `size` bytes of the body."""
        parts: list[bytes] = []
        missing = size
        while missing:
            chunk = self._body[0]
            part = chunk[self._offset : self._offset + missing]
            parts.append(part)
            missing -= len(part)
            self._offset += len(part)
            if self._offset == len(chunk):
                self._body.popleft()
                self._offset = 0
        self.waiting_bytes -= size
        self.meter.passed(size, self._around.now())
        return parts[0] if len(parts) == 1 else b"".join(parts)
