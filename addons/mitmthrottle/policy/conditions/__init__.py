"""The conditions of a rule, a module each, and the table that they are registered in.

The one rule: all there is to know of a condition is in its module; `when`, the question whether a
rule applies, why it does not, what `check` says, and the schema are made from the table. Nobody
else keeps a list of conditions. docs/adding-an-effect.md is the guide.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from pydantic import create_model

from mitmthrottle.policy.facts import ENCRYPTED, NO, YES, Facts, listed
from mitmthrottle.policy.language.fields import Strict
from mitmthrottle.policy.language.modules import import_all
from mitmthrottle.policy.language.yamltree import Spot, Warned


class Bound(ABC):
    """A condition of a rule with its value, ready to be asked.

    It answers NO, YES, or why it cannot tell yet (facts.py).
    """

    __slots__ = ()
    of_response: bool = False
    """whether the request alone cannot tell"""

    @abstractmethod
    def test(self, facts: Facts) -> int: ...

    @abstractmethod
    def why(self, facts: Facts) -> str:
        """Why it did not hold, for people; asked only after a test that was not YES."""

    def step(self, seen: int) -> int | None:
        """The least number of seen bytes at which this may hold; None: no such number."""
        return None


class Condition(ABC):
    """What there is to know of one condition."""

    key: ClassVar[str]
    """its name in a `when`"""
    type: ClassVar[Any]
    """of its value, as of a field of a pydantic model; it has to take None, which is not given"""
    place: ClassVar[int]
    """in lists, and when `explain` names one that failed: from small to large, each of its own"""
    cost: ClassVar[int]
    """when it is asked: the cheap ones first"""
    help: ClassVar[str]
    """what an editor shows beside it"""
    example: ClassVar[str]
    """a `when` that has it, in a file's words: `{host: .example.com}`"""
    indexed: ClassVar[bool] = False
    """whether it is looked up for all rules at once, and not asked of each"""
    groups: ClassVar[str] = ""
    """the key of a policy under which its values may be named"""

    @abstractmethod
    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        """Of a rule of a policy, ready to be asked."""

    def comparable(self, value: Any) -> Any:
        """What `covers` compares, made once of a value whose groups are resolved."""
        return value

    def covers(self, mine: Any, its: Any) -> bool:
        """Whether it is certain that all that `its` matches (None: everything), `mine` does too."""
        return False

    def warnings(self, value: Any, spot: Spot, now: float | None) -> Iterator[Warned]:
        """What surely does not do what its author wants. `now` is in Unix seconds, if known."""
        yield from ()

    def is_group(self, text: str) -> bool:
        """Whether a text is a group's name, and no value."""
        return bool(self.groups)

    def define(self, name: str) -> str:
        """What to do about a group that nobody has defined."""
        return f"define it under `{self.groups}`"


class OneOf(Bound):
    """A fact that is one of a few values; `readable`: of a connection that cannot be opened too."""

    __slots__ = ("_fact", "_listed", "_readable", "_values", "of_response")

    def __init__(
        self,
        fact: str,
        values: frozenset[object],
        listed: Sequence[object],
        *,
        readable: bool = False,
        of_response: bool = False,
    ) -> None:
        self._fact = fact
        self.of_response = of_response
        self._values = values
        self._listed = [str(value) for value in listed]
        self._readable = readable

    def test(self, facts: Facts) -> int:
        if facts.exchange.opaque and not self._readable:
            return NO
        return YES if getattr(facts.exchange, self._fact) in self._values else NO

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque and not self._readable:
            return ENCRYPTED
        value = getattr(facts.exchange, self._fact)
        if value is None:
            return "there is no response yet"
        return f"{self._fact} `{value}` is not {listed(self._listed)}"


def all_within(
    inner: Sequence[Any] | None, outer: Sequence[Any], within: Callable[[Any, Any], bool]
) -> bool:
    """Whether each of `inner` lies within one of `outer`; None is everything."""
    return inner is not None and all(any(within(a, b) for b in outer) for a in inner)


def among(inner: Sequence[Any] | None, outer: Sequence[Any]) -> bool:
    """The same of plain values."""
    return inner is not None and set(inner) <= set(outer)


def resolved(value: Any, groups: Any) -> tuple[Any, ...]:
    """A condition's values with those of its groups in the place of their names."""
    return tuple(
        member for item in value for member in (groups[item] if isinstance(item, str) else (item,))
    )


_registered: list[Condition] = []
CONDITIONS: tuple[Condition, ...] = ()


def register[C: Condition](condition: type[C]) -> type[C]:
    """A class decorator: this condition is one of the language's from now on."""
    made = condition()
    if CONDITIONS:
        raise ValueError(f"`{made.key}` comes late: a condition is a module of this package")
    for other in _registered:
        if other.place == made.place or other.key == made.key:
            raise ValueError(f"`{other.key}` and `{made.key}` have the same place or key")
    _registered.append(made)
    _registered.sort(key=lambda each: each.place)
    return condition


def mapping_of_conditions() -> Any:
    """A base for the model of a `when`."""
    fields: dict[str, Any] = {each.key: (each.type, None) for each in CONDITIONS}
    return create_model("conditions", __base__=Strict, **fields)


import_all(__name__, __path__)
CONDITIONS = tuple(_registered)
