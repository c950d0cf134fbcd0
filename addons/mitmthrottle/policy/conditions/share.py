"""Who is in a share: a keyed hash instead of a coin.

The one rule: the same seed and the same parts give the same number, on every machine and in
every process, so a client is in or out for good and 10 % of the clients are among the 50 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from mitmthrottle.policy.conditions import Bound, Condition, register
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.facts import NO, YES, Facts
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import is_number, name_of_type, word_of
from mitmthrottle.policy.language.yamltree import Spot, Warned

_SPAN = 2.0**-53
# Square roots are badly approximated by fractions, so their multiples never bunch up.
_STEPS = tuple(number**0.5 % 1.0 for number in (2, 3, 5, 7, 13, 14, 21, 22))


@dataclass(frozen=True, slots=True)
class Share:
    """A fraction (0..1) of the clients, or of the responses."""

    fraction: float
    of: Literal["clients", "responses"] = "clients"


@lru_cache(maxsize=16384)
def unit_interval(seed: str, *parts: str) -> float:
    """A number in [0, 1) that depends on the seed and the parts only, spread evenly.

    blake2b keyed with the seed's own hash (a key holds 64 bytes at most, a seed may be longer);
    each part goes in with its length, so that ("a", "bc") and ("ab", "c") differ. The upper
    53 bits of the digest are the number.
    """
    digest = blake2b(key=blake2b(_bytes(seed), digest_size=32).digest(), digest_size=8)
    for part in parts:
        raw = _bytes(part)
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return (int.from_bytes(digest.digest(), "big") >> 11) * _SPAN


def place_of_client(seed: str, identity: str) -> float:
    """A client's number in [0, 1): it is in a share of f if that is below f.

    A plain hash leaves a handful of clients to luck: of ten desktops with `share: 50%`, two or
    eight would be nothing unusual.  So the hash places each IPv4 network of 65,536 addresses, and
    within it the third and the fourth number step on by irrational amounts that the seed has
    chosen, which spreads any run of neighbours evenly (an additive recurrence, as in quasi-Monte
    Carlo methods).  What is not an IPv4 address is hashed.
    """
    numbers = identity.split(".")
    if len(numbers) == 4 and all(number.isdecimal() for number in numbers):
        start = unit_interval(seed, numbers[0], numbers[1])
        outer, inner = _steps(seed)
        return (start + int(numbers[2]) * outer + int(numbers[3]) * inner) % 1.0
    return unit_interval(seed, identity)


@lru_cache(maxsize=64)
def _steps(seed: str) -> tuple[float, float]:
    """Two different steps."""
    outer = int(unit_interval(seed, "outer step") * len(_STEPS))
    inner = int(unit_interval(seed, "inner step") * (len(_STEPS) - 1))
    return _STEPS[outer], _STEPS[inner if inner < outer else inner + 1]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _share(value: object) -> Share:
    """`50%`, or `{of: responses, percent: 10}`."""
    if isinstance(value, Share):
        return value
    if isinstance(value, str) or is_number(value):
        return Share(units.parse_share(str(value)))
    if not isinstance(value, dict):
        raise ValueError(
            f"must be `50%` or `{{of: responses, percent: 10}}`, not {name_of_type(value)}"
        )
    for key in value:
        if key not in ("of", "percent"):
            near = units.did_you_mean(str(key), ["of", "percent"])
            raise ValueError(f"unknown key `{key}` in `share`{near or ': `of` and `percent` only'}")
    if "percent" not in value:
        raise ValueError("says no percentage: add `percent: 10`")
    percent = value["percent"]
    if is_number(percent):
        percent = f"{percent:.9f}%"
    if not isinstance(percent, str):
        raise ValueError(f"`percent` must be a number from 0 to 100, not {name_of_type(percent)}")
    of = word_of(("clients", "responses"), "kind of share")(str(value.get("of", "clients")))
    return Share(units.parse_share(percent), "responses" if of == "responses" else "clients")


def _share_text(share: Share) -> str | dict[str, Any]:
    if share.of == "clients":
        return f"{units.exact_percent(share.fraction)}%"
    return {"of": share.of, "percent": f"{units.exact_percent(share.fraction)}%"}


_SHARE_JSON: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%$", "examples": ["50%"]},
        {
            "type": "object",
            "properties": {
                "of": {"enum": ["clients", "responses"]},
                "percent": {"anyOf": [{"type": "number"}, {"type": "string"}]},
            },
            "required": ["percent"],
            "additionalProperties": False,
        },
    ]
}

type ShareItem = Annotated[
    Share,
    PlainValidator(_share),
    PlainSerializer(_share_text),
    WithJsonSchema(_SHARE_JSON),
]


class Shared(Bound):
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


@register
class ShareCondition(Condition):
    """`share`."""

    key = "share"
    type = ShareItem | None
    place = 110
    cost = 100
    help = "`50%` of the clients, or `{of: responses, percent: 10}`"
    example = "{share: 50%}"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return Shared(value, policy.seed, rule.name)

    def covers(self, mine: Any, its: Any) -> bool:
        if mine.fraction >= 1:
            return True
        # a client among the 10 % is among the 50 %; responses are drawn anew for each rule
        return (
            its is not None
            and mine.of == its.of == "clients"
            and bool(its.fraction <= mine.fraction)
        )

    def warnings(self, value: Any, spot: Spot, now: float | None) -> Iterator[Warned]:
        if value.fraction == 0:
            yield (
                spot.node(),
                "a share of 0% is nobody, so this rule never matches: remove it, or give it a "
                "share",
            )
        if value.fraction == 1:
            yield spot.node(), "a share of 100% is everybody: leave `share` out"
