"""The `then` of a rule: its effects, as values.

The one rule: a rule has at least one effect, and `pass` goes with nothing else. The effects are
those of the table in effects/, one a file; how to pace is not told here.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Self

from pydantic import ValidationInfo, model_validator

from mitmthrottle.policy.effects import Effect, EffectSet, mapping_of
from mitmthrottle.policy.effects.stages import Timeline, effects_in


class Then(mapping_of("then"), EffectSet):  # type: ignore[misc]  # made of the table of effects
    """What happens to a response that a rule matched. `burst` is in bytes."""

    @property
    def stages_repeat(self) -> bool:
        """Whether the first stage follows the last (a trace's do)."""
        return self.trace is not None

    @property
    def may_block(self) -> bool:
        """Whether it blocks, at some time at least."""
        return self.has(lambda effect: effect.blocks)

    @property
    def paces_uploads(self) -> bool:
        """Whether it is for the bodies of requests too."""
        return any(effect.paces_uploads for effect in self.acting)

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if value == "pass":
            raise ValueError("must be a mapping: did you mean `{pass: true}`?")
        return value

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> Self:
        for reason in self.conflicts():
            raise ValueError(reason)
        if not self.given():
            raise ValueError("has no effect: add `rate`, `delay`, `block`, or `pass: true`")
        for effect in self.table:
            for name, value in effect.fill(self, info).items():
                # the one place where a frozen model is still being made
                object.__setattr__(self, name, value)
        return self

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Self:
        """As pydantic's, without what was worked out of the values before."""
        copied: Self = super().model_copy(update=update, deep=deep)
        for worked_out in ("_timeline", "_at", "acting"):
            copied.__dict__.pop(worked_out, None)
        return copied

    def at(self, elapsed_s: float) -> tuple[Then, float]:
        """(the effects in force, until when) in seconds since the stages began.

        The effects have no stages; until is infinite where they hold for ever. Without stages
        that is this `then` itself. The same stage always gives the same object.
        """
        if not self.stages:
            return self, math.inf
        index, until = self._timeline.at(elapsed_s)
        if index not in self._at:
            own = effects_in(self, None if index is None else self.stages[index])
            self._at[index] = Then.model_construct(set(own), **own)
        return self._at[index], until

    @cached_property
    def acting(self) -> tuple[Effect, ...]:
        """The effects that are given, kept: a body asks for them when it begins."""
        return tuple(self.given())

    @cached_property
    def _timeline(self) -> Timeline:
        return Timeline(self.stages, self.stages_repeat)

    @cached_property
    def _at(self) -> dict[int | None, Then]:
        return {}

    def describe(self) -> str:
        """`128 kbit/s per response, delay 300 ms`."""
        return ", ".join(self.described())

    def explain(self) -> dict[str, Any]:
        """What it does, for programs: fields of the effects it has, in SI units."""
        return {"text": self.describe(), **self.explained()}
