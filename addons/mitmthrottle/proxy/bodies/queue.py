"""What has come of a body and not gone on yet.

Rule: nothing overtakes, and nothing but bytes passes for bytes.  Whatever goes in comes out in the
same order and to the same byte.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass


class Mark(enum.Enum):
    """Places in what a body lets out, besides its bytes and what follows them."""

    HEADERS = "headers"  # the message's headers go here
    CUT = "cut"  # nothing more goes out: end the connection here
    BLOCK = "block"  # an answer of ours, or a reset, takes the place of the rest


@dataclass(frozen=True, slots=True)
class Tail:
    """Something that follows bytes: trailers, the end of a message, the closing of a connection.

    `ends`: nothing of this body comes behind it.
    """

    what: object
    ends: bool


Item = Mark | bytes | Tail


class BodyQueue:
    """Bytes and tails, first in, first out."""

    __slots__ = ("_items", "_offset", "_tails", "contiguous_bytes", "waiting_bytes")

    def __init__(self) -> None:
        self._items: deque[bytes | Tail] = deque()
        self._offset = 0  # bytes of the first item that are gone already
        self._tails = 0
        self.waiting_bytes = 0
        self.contiguous_bytes = 0
        """of these, up to the first tail"""

    def __repr__(self) -> str:
        return f"BodyQueue({self.waiting_bytes} B in {len(self._items)} items)"

    def __bool__(self) -> bool:
        return bool(self._items)

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """More bytes; mitmproxy gives bytearrays where a protocol changes."""
        if not data:
            return
        held = data if type(data) is bytes else bytes(data)
        if not self._tails:
            self.contiguous_bytes += len(held)
        self.waiting_bytes += len(held)
        self._items.append(held)

    def push_tail(self, tail: Tail) -> None:
        self._items.append(tail)
        self._tails += 1

    def pop_tail(self) -> Tail | None:
        """The tail that stands first; None where bytes do, or nothing."""
        first = self._items[0] if self._items else None
        if not isinstance(first, Tail):
            return None
        self._items.popleft()
        self._tails -= 1
        for item in self._items:
            if isinstance(item, Tail):
                break
            self.contiguous_bytes += len(item)
        return first

    def take(self, size: int) -> bytes:
        """The next `size` bytes, of which there have to be as many before the next tail."""
        parts: list[bytes] = []
        missing = size
        while missing:
            chunk = self._items[0]
            if isinstance(chunk, Tail):
                raise ValueError(f"{size} bytes asked of {self}, and a tail stands between them")
            part = chunk[self._offset : self._offset + missing]
            parts.append(part)
            missing -= len(part)
            self._offset += len(part)
            if self._offset == len(chunk):
                self._items.popleft()
                self._offset = 0
        self.waiting_bytes -= size
        self.contiguous_bytes -= size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drain(self) -> list[bytes | Tail]:
        """Everything, at once."""
        items = list(self._items)
        if self._offset:
            first = items[0]
            assert isinstance(first, bytes)  # noqa: S101  (only bytes have an offset)
            items[0] = first[self._offset :]
        self.clear()
        return items

    def clear(self) -> None:
        self._items.clear()
        self._offset = self._tails = self.waiting_bytes = self.contiguous_bytes = 0
