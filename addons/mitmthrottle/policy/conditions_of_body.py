"""The conditions on what a response is and how large: what only its headers or its body can tell.

Rule: as in conditions.py, of which this is a part.
"""

from __future__ import annotations

from typing import ClassVar

from mitmthrottle.policy.conditions.size import SizeRange
from mitmthrottle.policy.detect.content import IN_PARTS, KINDS, mime_type, plain_head, type_of_part
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.facts import ENCRYPTED, FIRST_BYTES, MORE_BYTES, NO, YES, Facts, listed
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.pattern import compile_glob


class Content:
    key: ClassVar[str] = "content"
    of_response = True
    __slots__ = ("_globs", "_items", "_kinds")

    def __init__(self, items: tuple[str, ...]) -> None:
        self._items = items
        self._kinds = frozenset(item for item in items if item in KINDS)
        self._globs = [compile_glob(item) for item in items if item not in KINDS]

    def test(self, facts: Facts) -> int:
        exchange = facts.exchange
        if exchange.opaque:
            return NO
        if self._globs and not exchange.websocket:
            mime = mime_type(exchange.content_type)
            part = _type_of_part(exchange)
            if any(matches(mime) or (part and matches(part)) for matches in self._globs):
                return YES
            if mime in IN_PARTS and facts.waits_for_first_bytes:
                return FIRST_BYTES  # the part's own type may be the one
        if not self._kinds:
            return NO
        if facts.waits_for_first_bytes:
            return FIRST_BYTES
        return YES if facts.kind in self._kinds else NO

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque:
            return ENCRYPTED
        declared = mime_type(facts.exchange.content_type)
        said = f"Content-Type `{declared}`" if declared else "no Content-Type"
        if facts.waits_for_first_bytes and (self._kinds or declared in IN_PARTS):
            return f"only the body's first bytes can tell ({said})"
        if part := _type_of_part(facts.exchange):
            said += f" of parts that are `{part}`"
        found = facts.kind or "neither photo, video nor audio"
        return f"content is {found} ({said}), not {listed(self._items)}"


class Size:
    key: ClassVar[str] = "size"
    of_response = True
    __slots__ = ("_ranges",)

    def __init__(self, ranges: tuple[SizeRange, ...]) -> None:
        self._ranges = ranges

    def test(self, facts: Facts) -> int:
        exchange = facts.exchange
        if exchange.opaque:
            return NO
        size = _size_of(exchange)
        if size is not None:
            return YES if any(part.contains(size) for part in self._ranges) else NO
        undecided = NO
        for part in self._ranges:
            if part.highest is None and exchange.seen >= part.lowest:
                return YES
            if part.highest is None or exchange.seen <= part.highest:
                undecided = MORE_BYTES
        return undecided

    def step(self, seen: int) -> int | None:
        """The least number of seen bytes at which this holds; None if only the end can tell."""
        ahead = [
            part.lowest for part in self._ranges if part.highest is None and part.lowest > seen
        ]
        return min(ahead, default=None)

    def why(self, facts: Facts) -> str:
        exchange = facts.exchange
        if exchange.opaque:
            return ENCRYPTED
        wanted = listed([part.text for part in self._ranges])
        size = _size_of(exchange)
        if size is None:
            return (
                f"size is not known: {units.format_size(exchange.seen)} seen so far, "
                f"asked for {wanted}"
            )
        return f"size {units.format_size(size)} ({size} bytes) is not {wanted}"


def _type_of_part(exchange: Exchange) -> str | None:
    return type_of_part(exchange.content_type, plain_head(exchange.head, exchange.content_encoding))


def _size_of(exchange: Exchange) -> int | None:
    if exchange.size is not None:
        return exchange.size
    return exchange.seen if exchange.complete else None
