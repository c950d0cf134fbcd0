"""What a process says of itself to those that it shares budgets with, and how that is read.

Rule: no client, host or rule in clear: a rule is a keyed hash, which whoever runs the same policy
knows. What does not read as such a word is no word: anybody who can write to the store may have
put it there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from mitmthrottle.pacing import Part
from mitmthrottle.policy.language.outside import printable
from mitmthrottle.store import Names

MOST_SHARES = 12
"""of one process; the busiest"""

# Anybody who can write to the store may have put escapes for a terminal into it.
_Short = Annotated[str, Field(max_length=100), AfterValidator(printable)]
_Count = Annotated[int, Field(ge=0, le=10**9)]
# Sums of them are shown too, and stay numbers that JSON has.
_Rate = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Share:
    """One limit of one rule, over all whom it is counted `per`."""

    rule: _Short
    """its hash"""
    index: _Count
    """which of the rule's limits"""
    per: _Short
    upload: bool
    budgets: _Count
    responses: _Count
    limit_bytes_per_s: _Rate
    asked_bytes_per_s: _Rate | None
    """what this process may give out; None: no limit now"""
    measured_bytes_per_s: _Rate


@dataclass(frozen=True, slots=True)
class Word:
    """What one process says of itself."""

    name: _Short
    version: _Short
    """of its policy"""
    policy_s: Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
    """for so long it has had that"""
    paced: _Count
    measured_bytes_per_s: _Rate
    """of everything slowed"""
    shares: Annotated[tuple[Share, ...], Field(max_length=MOST_SHARES)]

    __pydantic_config__ = ConfigDict(extra="ignore")  # a newer release may say more

    def text(self) -> str:
        return _WORD.dump_json(self).decode()


_WORD = TypeAdapter(Word)


def parse(text: str) -> Word | None:
    """The word that this is, if it is one."""
    try:
        return _WORD.validate_json(text)
    except ValidationError:
        return None


def hash_of_rule(names: Names, name: str) -> str:
    return names.of("rule", name).rpartition(":")[2]


def shares(parts: Iterable[Part], names: Names) -> tuple[Share, ...]:
    """What is drawn from shared budgets here, those of one limit taken together."""
    limits: dict[Hashable, list[Part]] = {}
    for part in parts:
        if part.drawing and isinstance(part.key, tuple):
            limits.setdefault(part.key[:3], []).append(part)
    found = [_share(key, group, names) for key, group in limits.items() if isinstance(key, tuple)]
    found.sort(key=lambda share: -share.measured_bytes_per_s)
    return tuple(found[:MOST_SHARES])


def _share(key: tuple[Hashable, ...], parts: list[Part], names: Names) -> Share:
    """`key` is of bodies/budgets.py: whose limit, its number, `per`."""
    owner, index, per = key
    upload = isinstance(owner, tuple) and owner[1] == "upload"
    rule = owner[0] if isinstance(owner, tuple) else owner
    limited = all(part.budget.fraction <= 1 for part in parts)
    return Share(
        rule=hash_of_rule(names, str(rule)),
        index=int(str(index)),
        per=str(per),
        upload=upload,
        budgets=len(parts),
        responses=sum(part.drawing for part in parts),
        limit_bytes_per_s=sum(part.budget.limit_bytes_per_s for part in parts),
        asked_bytes_per_s=sum(p.budget.rate_bytes_per_s for p in parts) if limited else None,
        measured_bytes_per_s=sum(part.taken_bytes_per_s for part in parts),
    )
