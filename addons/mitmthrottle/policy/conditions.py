"""The conditions of a rule, bound and ready to be asked.

The one rule: a condition answers NO, YES, or why it cannot tell yet: FIRST_BYTES (only the
body's first bytes can tell) or MORE_BYTES (the body's size is not known yet). `decide` and
`explain` both ask here; there is no second test of anything. `host` is not here: it is looked up
in the index (hosts.py), once for all rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

from mitmthrottle.policy import units
from mitmthrottle.policy.active import Active
from mitmthrottle.policy.clients import ClientMatch, matches_client
from mitmthrottle.policy.content import (
    BYTE_RANGES,
    KINDS,
    Kind,
    classify,
    mime_type,
    needs_first_bytes,
    type_of_part,
)
from mitmthrottle.policy.devices import device_of, load_tables
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.pattern import TextPattern, glob_regex
from mitmthrottle.policy.share import Share, place_of_client, unit_interval
from mitmthrottle.policy.sizes import SizeRange
from mitmthrottle.policy.zones import wall_clock

NO: Final = 0
YES: Final = 1
FIRST_BYTES: Final = 2
MORE_BYTES: Final = 3

_ENCRYPTED = "the payload is encrypted, so it cannot be read"
_UNSEEN: Final = object()


class Facts:
    """An exchange, and what was worked out about it so far (once for all rules)."""

    __slots__ = ("_destination", "_kind", "exchange")

    def __init__(self, exchange: Exchange, upload: bool = False) -> None:
        self.exchange = exchange
        # what the response is wanted for says nothing of the request's body
        self._destination = None if upload else exchange.request_headers.get("sec-fetch-dest")
        self._kind: object = _UNSEEN

    @property
    def kind_known(self) -> bool:
        return self._kind is not _UNSEEN

    @property
    def kind(self) -> Kind | None:
        """What the response is, as far as can be told now."""
        if self._kind is _UNSEEN:
            self._kind = self._classify()
        return self._kind  # type: ignore[return-value]  # set by _classify only

    @property
    def waits_for_first_bytes(self) -> bool:
        """Whether the kind may change once the first bytes of the body are seen."""
        exchange = self.exchange
        if exchange.websocket or exchange.opaque or exchange.has_no_body:
            return False
        if exchange.head is not None and exchange.complete:
            return False
        return needs_first_bytes(exchange.content_type, self._destination, exchange.head)

    def _classify(self) -> Kind | None:
        exchange = self.exchange
        if exchange.websocket:
            return "websocket"
        if exchange.opaque:
            return None
        return classify(
            exchange.content_type,
            self._destination,
            exchange.head,
            exchange.path,
        )


class Condition(Protocol):
    """What `decide` and `explain` need of a condition."""

    @property
    def key(self) -> str:
        """Its name in `when`."""

    @property
    def of_response(self) -> bool:
        """Whether the request alone cannot tell."""

    def test(self, facts: Facts) -> int: ...

    def why(self, facts: Facts) -> str:
        """Why it did not hold, for people; asked only after a test that was not YES."""


class Path:
    key: ClassVar[str] = "path"
    of_response = False
    __slots__ = ("_patterns",)

    def __init__(self, patterns: tuple[TextPattern, ...]) -> None:
        self._patterns = patterns

    def test(self, facts: Facts) -> int:
        if facts.exchange.opaque:
            return NO
        path = facts.exchange.path
        for pattern in self._patterns:
            if pattern.matches(path):
                return YES
        return NO

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque:
            return _ENCRYPTED
        return f"path `{facts.exchange.path}` does not match {_listed(_texts(self._patterns))}"


class OneOf:
    """`method`, `scheme`, `port`, `status`: a fact that is one of a few values."""

    __slots__ = ("_listed", "_readable", "_values", "key", "of_response")

    def __init__(self, key: str, values: frozenset[object], listed: Sequence[object]) -> None:
        self.key = key
        self.of_response = key == "status"
        self._values = values
        self._listed = [str(value) for value in listed]
        self._readable = key in ("scheme", "port")

    def test(self, facts: Facts) -> int:
        if facts.exchange.opaque and not self._readable:
            return NO
        return YES if getattr(facts.exchange, self.key) in self._values else NO

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque and not self._readable:
            return _ENCRYPTED
        value = getattr(facts.exchange, self.key)
        if value is None:
            return "there is no response yet"
        return f"{self.key} `{value}` is not {_listed(self._listed)}"


class Content:
    key: ClassVar[str] = "content"
    of_response = True
    __slots__ = ("_globs", "_items", "_kinds")

    def __init__(self, items: tuple[str, ...]) -> None:
        self._items = items
        self._kinds = frozenset(item for item in items if item in KINDS)
        self._globs = [
            re.compile(glob_regex(item)).fullmatch for item in items if item not in KINDS
        ]

    def test(self, facts: Facts) -> int:
        exchange = facts.exchange
        if exchange.opaque:
            return NO
        if self._globs and not exchange.websocket:
            mime = mime_type(exchange.content_type)
            part = type_of_part(exchange.content_type, exchange.head)
            if any(matches(mime) or (part and matches(part)) for matches in self._globs):
                return YES
            if mime == BYTE_RANGES and facts.waits_for_first_bytes:
                return FIRST_BYTES  # the part's own type may be the one
        if not self._kinds:
            return NO
        if facts.waits_for_first_bytes:
            return FIRST_BYTES
        return YES if facts.kind in self._kinds else NO

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque:
            return _ENCRYPTED
        declared = mime_type(facts.exchange.content_type)
        said = f"Content-Type `{declared}`" if declared else "no Content-Type"
        if facts.waits_for_first_bytes and (self._kinds or declared == BYTE_RANGES):
            return f"only the body's first bytes can tell ({said})"
        if part := type_of_part(facts.exchange.content_type, facts.exchange.head):
            said += f" of parts that are `{part}`"
        found = facts.kind or "neither photo, video nor audio"
        return f"content is {found} ({said}), not {_listed(self._items)}"


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
            return _ENCRYPTED
        wanted = _listed([part.text for part in self._ranges])
        size = _size_of(exchange)
        if size is None:
            return (
                f"size is not known: {units.format_size(exchange.seen)} seen so far, "
                f"asked for {wanted}"
            )
        return f"size {units.format_size(size)} ({size} bytes) is not {wanted}"


class Client:
    key: ClassVar[str] = "client"
    of_response = False
    __slots__ = ("_matches", "_names")

    def __init__(self, matches: tuple[ClientMatch, ...], names: Sequence[str]) -> None:
        if any(match.device is not None for match in matches):
            load_tables()
        self._matches = matches
        self._names = names

    def test(self, facts: Facts) -> int:
        exchange = facts.exchange
        headers = None if exchange.opaque else exchange.request_headers
        for match in self._matches:
            if matches_client(match, exchange.client_address, exchange.user, headers) is None:
                return YES
        return NO

    def why(self, facts: Facts) -> str:
        exchange = facts.exchange
        headers = None if exchange.opaque else exchange.request_headers
        keys = {
            matches_client(match, exchange.client_address, exchange.user, headers) or ""
            for match in self._matches
        }
        return f"the client is not {_listed(self._names)}: " + ", ".join(
            self._said(key, exchange) for key in sorted(keys)
        )

    @staticmethod
    def _said(key: str, exchange: Exchange) -> str:
        """What an exchange says about one key of a client condition."""
        if key == "address":
            return f"its address is {exchange.client_address or 'unknown'}"
        if key == "user":
            return f"its proxy user is {exchange.user or 'unknown'}"
        if exchange.opaque:
            return _ENCRYPTED
        if key == "user_agent":
            return f"its User-Agent is `{exchange.request_headers.get('user-agent', '')[:80]}`"
        return f"its device is {device_of(exchange.request_headers) or 'unknown'}"


class Header:
    key: ClassVar[str] = "header"
    of_response = False
    __slots__ = ("_wanted",)

    def __init__(self, wanted: dict[str, tuple[TextPattern, ...]]) -> None:
        self._wanted = tuple(wanted.items())

    def test(self, facts: Facts) -> int:
        if facts.exchange.opaque:
            return NO
        return NO if self._missing(facts.exchange) else YES

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque:
            return _ENCRYPTED
        name, patterns = self._missing(facts.exchange) or self._wanted[0]
        value = facts.exchange.request_headers.get(name)
        if value is None:
            return f"the request has no header `{name}`"
        return f"header `{name}` is `{value[:80]}`, not {_listed(_texts(patterns))}"

    def _missing(self, exchange: Exchange) -> tuple[str, tuple[TextPattern, ...]] | None:
        for name, patterns in self._wanted:
            value = exchange.request_headers.get(name)
            if value is None or not any(pattern.matches(value) for pattern in patterns):
                return name, patterns
        return None


class Shared:
    key: ClassVar[str] = "share"
    __slots__ = ("_rule", "_seed", "_share", "of_response")

    def __init__(self, share: Share, seed: str, rule: str) -> None:
        self._share = share
        self._seed = seed
        self._rule = rule
        self.of_response = share.of == "responses"

    def test(self, facts: Facts) -> int:
        return YES if self._place(facts.exchange) < self._share.fraction else NO

    def why(self, facts: Facts) -> str:
        exchange, percent = facts.exchange, units.format_share(self._share.fraction)
        place = self._place(exchange) * 100
        if self._share.of == "responses":
            return f"response {exchange.serial} is not among the {percent} (place {place:.1f}%)"
        who = exchange.client_identity or "unknown"
        return f"client `{who}` is not among the {percent} of clients (place {place:.1f}%)"

    def _place(self, exchange: Exchange) -> float:
        if self._share.of == "responses":
            return unit_interval(self._seed, self._rule, str(exchange.serial))
        return place_of_client(self._seed, exchange.client_identity)


class InForce:
    """`active`: the time at which the question is asked."""

    key: ClassVar[str] = "active"
    of_response = False
    __slots__ = ("_spans",)

    def __init__(self, spans: tuple[Active, ...]) -> None:
        self._spans = spans

    def test(self, facts: Facts) -> int:
        time, elapsed_s = facts.exchange.time, facts.exchange.elapsed_s
        return YES if any(span.holds(time, elapsed_s) for span in self._spans) else NO

    def why(self, facts: Facts) -> str:
        exchange, wanted = facts.exchange, [span.describe() for span in self._spans]
        clock = wall_clock(exchange.time, self._spans[0].tz)
        return (
            f"it is {clock:%a %Y-%m-%d %H:%M %Z}, {units.format_duration(exchange.elapsed_s)} "
            f"after the start, not {_listed(wanted)}"
        )


def _size_of(exchange: Exchange) -> int | None:
    if exchange.size is not None:
        return exchange.size
    return exchange.seen if exchange.complete else None


def _texts(patterns: tuple[TextPattern, ...]) -> list[str]:
    return [pattern.text for pattern in patterns]


def _listed(items: Sequence[str], most: int = 4) -> str:
    """`a`, `b` or `c`; long lists are cut."""
    shown = [f"`{item}`" for item in items[:most]]
    if len(items) > most:
        shown.append(f"{len(items) - most} others")
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1]


def words(items: Sequence[str]) -> str:
    """A list of names as a person would say it."""
    return _listed(items)
