"""The effects of a rule, a module each, and the table that they are registered in.

The one rule: all there is to know of an effect is in its module; `then`, its stages and its
`upload`, what `check` and `explain` say of them, the schema and the plan of a body are made from
the table. Nobody else keeps a list of effects. docs/adding-an-effect.md is the guide.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, create_model

from mitmthrottle.policy.language.fields import Strict
from mitmthrottle.policy.language.modules import import_all
from mitmthrottle.policy.language.problems import Problem
from mitmthrottle.policy.language.yamltree import Node, Report, Spot, Warned

type BodyPart = Literal[
    "response", "upload", "relay-down", "relay-up", "websocket-down", "websocket-up"
]
"""which body of an exchange"""

DOWN: tuple[BodyPart, ...] = ("response", "relay-down", "websocket-down")
"""the bodies that go to a client"""

type Home = Literal["then", "stage", "upload"]
"""the mappings that effects stand in"""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that an effect brings to a `then`, and perhaps to a stage and to an `upload`."""

    type: Any  # as of a field of a pydantic model
    default: Any  # what it is where it is not given
    help: str  # what an editor shows beside it
    alias: str | None = None  # its name in a file, where Python has another use for it
    homes: tuple[Home, ...] = ("then",)


class Effect(ABC):
    """What there is to know of one effect.

    `part` is the mapping that it stands in: a `Then`, a `Stage` or an `Upload`.
    """

    keys: ClassVar[Mapping[str, Key]]
    """by the name of the field; the first is the effect's own"""
    place: ClassVar[int]
    """in lists, from small to large, each of its own"""
    words_place: ClassVar[int | None] = None
    """the same in `describe`; None: `place`"""
    example: ClassVar[str]
    """a `then` that has it, in a file's words: `{rate: 128 kbit/s}`"""
    acts: ClassVar[bool] = True
    """whether something happens by this effect alone"""
    alone: ClassVar[bool] = False
    """whether it goes with no other effect"""
    to_body: ClassVar[str] = ""
    """what it does to a body (`slow`), if anything: no blocked response has one"""
    beside_block: ClassVar[bool] = False
    """whether it holds of a blocked response too"""
    blocks: ClassVar[bool] = False
    """whether its plan may have a `block`: such a rule is looked for before there is a response"""
    paces_uploads: ClassVar[bool] = False
    """whether by it a request's body is paced; the others are for what comes back"""
    in_stages: ClassVar[Literal["always", "after", "never"]] = "always"
    """when a rule's own holds, if the rule has stages: in them too, or only after the last"""
    missing: ClassVar[Mapping[str, str]] = {}
    """for keys that its own mapping must have: what to write, as `limit: 128 kbit/s`"""
    slips: ClassVar[Mapping[str, str]] = {}
    """keys that people write beside it, which belong elsewhere: the remedy"""

    @property
    def field(self) -> str:
        """Of a `Then`."""
        return next(iter(self.keys))

    @property
    def key(self) -> str:
        """Its name in a file."""
        return self.keys[self.field].alias or self.field

    def given(self, part: Any) -> bool:
        """Whether a mapping has it."""
        return bool(getattr(part, self.field, None))

    @abstractmethod
    def describe(self, part: Any) -> Iterator[str]:
        """What it says, as in `128 kbit/s per response`; asked only where it is given."""

    @abstractmethod
    def explain(self, part: Any) -> dict[str, Any]:
        """The same for programs, in SI units; asked only where it is given."""

    @abstractmethod
    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        """What it gives to the plan of that body: fields of `Plan` (policy/plan.py).

        Asked only where it is given. Tuples of several effects add up; of other fields the later
        effect's stands.
        """

    def conflicts(self, part: Any) -> Iterator[str]:
        """Reasons why it cannot stand there as it does, or why others need it; before `fill`."""
        yield from ()

    def gives_rate(self, part: Any) -> bool:
        """Whether there is a rate by this effect that a `burst` could go with."""
        return False

    def fill(self, part: Any, info: ValidationInfo) -> dict[str, Any]:
        """Fields that it fills in where a file left them open."""
        return {}

    def nested(self, part: Any) -> Iterator[tuple[tuple[str | int, ...], EffectSet]]:
        """(path, mapping) of further effects that were written within it."""
        yield from ()

    def warnings(self, part: Any, spot: Spot, rule: Any) -> Iterator[Warned]:
        """What surely does not do what its author wants; asked only where it is given."""
        yield from ()

    def read_files(
        self, thens: Iterable[Node], folder: Path, report: Report
    ) -> tuple[dict[str, Any], list[Problem]]:
        """(what to add to the validation's context, problems) of files that it names."""
        return {}, []


class EffectSet(Strict):
    """A mapping of effects: a `then`, a stage, or an `upload`."""

    table: ClassVar[tuple[Effect, ...]] = ()
    """the effects that may stand in it"""
    leaves_open: ClassVar[bool] = False
    """whether a rule says what this one does not"""

    def given(self) -> list[Effect]:
        return [effect for effect in self.table if effect.given(self)]

    def has(self, ability: Callable[[Effect], bool]) -> bool:
        """Whether an effect that stands here, or within one that does, is of that sort."""
        given = self.given()
        return any(ability(effect) for effect in given) or any(
            inner.has(ability) for effect in given for _, inner in effect.nested(self)
        )

    def given_keys(self) -> list[str]:
        """The keys that were written, as in a file."""
        return [
            key.alias or name
            for effect in self.table
            for name, key in effect.keys.items()
            if name in self.model_fields_set and getattr(self, name, None) not in ((), None, False)
        ]

    def conflicts(self) -> Iterator[str]:
        """Why what stands here cannot go together; what goes with nothing comes first."""
        for effect in sorted(self.table, key=lambda each: not each.alone):
            yield from effect.conflicts(self)
            if effect.alone and effect.given(self):
                return

    def described(self) -> list[str]:
        """The words of each effect."""
        given = sorted(self.given(), key=lambda each: each.words_place or each.place)
        return [words for effect in given for words in effect.describe(self)]

    def explained(self) -> dict[str, Any]:
        """The same for programs."""
        found: dict[str, Any] = {}
        for effect in self.given():
            found |= effect.explain(self)
        return found


_registered: list[Effect] = []
_composed: set[Home] = set()


def register[E: Effect](effect: type[E]) -> type[E]:
    """A class decorator: this effect is one of the language's from now on."""
    made = effect()
    for home in {home for key in made.keys.values() for home in key.homes} & _composed:
        raise ValueError(
            f"`{made.key}` is to stand in a mapping that is made already: its module must not "
            f"import what needs the model of the `{home}`"
        )
    for other in _registered:
        if other.place == made.place or set(other.keys) & set(made.keys):
            raise ValueError(f"`{other.key}` and `{made.key}` have the same place or key")
    _registered.append(made)
    _registered.sort(key=lambda each: each.place)
    return effect


def mapping_of(home: Home, **first: Any) -> Any:
    """A base for a model of the effects that may stand there, behind the fields `first`.

    Imports all other effects, so a module that calls this has no effect for that home.
    """
    import_all(__name__, __path__)
    _composed.add(home)
    fields = dict(first)
    for effect in _registered:
        for name, key in effect.keys.items():
            if home in key.homes:
                fields[name] = (key.type, Field(key.default, alias=key.alias))
    made = create_model(f"{home}_effects", __base__=EffectSet, **fields)
    made.table = tuple(effect for effect in _registered if home in effect.keys[effect.field].homes)
    return made


import_all(__name__, __path__)
EFFECTS: tuple[Effect, ...] = tuple(_registered)
