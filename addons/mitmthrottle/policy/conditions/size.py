"""The `size` condition: comparisons with the size of a response's body.

The one rule: parts joined by a comma must all hold (`>= 100 KiB, < 2 MB`), a list means any of.
A body whose size was not declared is compared once enough of it has been seen: `>= 100 KiB`
holds when that much has come, `< 2 MB` when the body has ended before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator

from mitmthrottle.policy.conditions import Bound, Condition, all_within, register
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.facts import ENCRYPTED, MORE_BYTES, NO, YES, Facts, listed
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import Many, parsed

_PART = re.compile(r"\s*(>=|<=|>|<|==|=|≥|≤)?\s*(.*?)\s*")
_NO_LIMIT = units.HIGHEST_SIZE_BYTES * 2


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Sizes from `lowest` up to and including `highest`, in bytes; `highest` None: no limit."""

    text: str
    lowest: int
    highest: int | None

    @classmethod
    def parse(cls, text: str) -> SizeRange:
        """ValueError with a remedy for what is no comparison or can never hold."""
        lowest, highest = 0, _NO_LIMIT
        for part in text.split(","):
            found = _PART.fullmatch(part)
            operator, amount = found.groups() if found else (None, part)
            size = units.parse_size(amount)
            if operator is None:
                raise ValueError(
                    f"`{text}`: a size is compared: did you mean `>= {amount}` or `< {amount}`?"
                )
            if operator in (">=", "≥", "=", "=="):
                lowest = max(lowest, size)
            if operator in ("<=", "≤", "=", "=="):
                highest = min(highest, size)
            if operator == ">":
                lowest = max(lowest, size + 1)
            if operator == "<":
                highest = min(highest, size - 1)
        if lowest > highest:
            raise ValueError(f"`{text}`: no size is both: turn one of the comparisons round")
        if lowest == 0 and highest == _NO_LIMIT:
            raise ValueError(f"`{text}` is every size: leave `size` out")
        return cls(text, lowest, None if highest == _NO_LIMIT else highest)

    def __str__(self) -> str:
        return self.text

    def contains(self, size_bytes: int) -> bool:
        """Whether a body of this size is meant."""
        return size_bytes >= self.lowest and (self.highest is None or size_bytes <= self.highest)

    def covers(self, other: SizeRange) -> bool:
        """Whether each size of `other` is one of these."""
        if self.lowest > other.lowest:
            return False
        return self.highest is None or (other.highest is not None and other.highest <= self.highest)


def refuse_everything(ranges: tuple[SizeRange, ...] | None) -> tuple[SizeRange, ...] | None:
    """ValueError for a list that leaves no size out: it was surely meant as `and`."""
    end = -1
    for part in sorted(ranges or (), key=lambda each: each.lowest):
        if part.lowest > end + 1:
            return ranges
        if part.highest is None:
            both = ", ".join(each.text for each in ranges or ())
            raise ValueError(
                f'a list means any of, so this is every size: did you mean `"{both}"`?'
            )
        end = max(end, part.highest)
    return ranges


_size_item = parsed(SizeRange.parse, "a comparison with a size", ">= 100 KiB")

type SizeItem = Annotated[SizeRange, _size_item[0], _size_item[1], _size_item[2]]


class Size(Bound):
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


def _size_of(exchange: Exchange) -> int | None:
    if exchange.size is not None:
        return exchange.size
    return exchange.seen if exchange.complete else None


@register
class SizeCondition(Condition):
    """`size`."""

    key = "size"
    type = Annotated[Many[SizeItem], AfterValidator(refuse_everything)]
    place = 80
    cost = 50
    help = "of the body: `>= 100 KiB`, `>= 1 MB, < 2 MB`"
    example = '{size: ">= 100 KiB"}'

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return Size(value)

    def covers(self, mine: Any, its: Any) -> bool:
        return all_within(its, mine, lambda narrow, wide: bool(wide.covers(narrow)))
