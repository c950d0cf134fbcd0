"""The conditions of a rule, bound and ready to be asked.

The one rule: a condition answers NO, YES, or why it cannot tell yet (facts.py). `decide` and
`explain` both ask here and in conditions_of_body.py; there is no second test of anything. `host`
is not here: it is looked up in the index (hosts.py), once for all rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from mitmthrottle.policy.conditions.active import Active
from mitmthrottle.policy.conditions.client import ClientMatch, matches_client
from mitmthrottle.policy.conditions.share import Share, place_of_client, unit_interval
from mitmthrottle.policy.detect.devices import device_of
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.facts import ENCRYPTED, NO, YES, Facts, listed
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.pattern import TextPattern
from mitmthrottle.policy.language.zones import wall_clock


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
            return ENCRYPTED
        return f"path `{facts.exchange.path}` does not match {listed(_texts(self._patterns))}"


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
            return ENCRYPTED
        value = getattr(facts.exchange, self.key)
        if value is None:
            return "there is no response yet"
        return f"{self.key} `{value}` is not {listed(self._listed)}"


class Client:
    key: ClassVar[str] = "client"
    of_response = False
    __slots__ = ("_matches", "_names")

    def __init__(self, matches: tuple[ClientMatch, ...], names: Sequence[str]) -> None:
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
        return f"the client is not {listed(self._names)}: " + ", ".join(
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
            return ENCRYPTED
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
            return ENCRYPTED
        name, patterns = self._missing(facts.exchange) or self._wanted[0]
        value = facts.exchange.request_headers.get(name)
        if value is None:
            return f"the request has no header `{name}`"
        return f"header `{name}` is `{value[:80]}`, not {listed(_texts(patterns))}"

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
            f"after the start, not {listed(wanted)}"
        )


def _texts(patterns: tuple[TextPattern, ...]) -> list[str]:
    return [pattern.text for pattern in patterns]
