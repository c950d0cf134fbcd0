"""The `cut` of a rule: the body ends early.

The one rule: what was sent before the cut was sent in order; `reset` is an error for the client,
`close` looks as if the server had gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mitmthrottle.policy.effects import DOWN, BodyPart, Effect, Key, register
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import Bytes, Strict, name_of_type, parsed, word_of

How = Literal["reset", "close"]
HOWS: tuple[How, ...] = ("reset", "close")

_how = parsed(word_of(HOWS, "way to cut"), "a way to cut", "reset", enum=list(HOWS))


class Cut(Strict):
    """The body ends after `after_bytes` bytes."""

    after_bytes: Bytes = Field(alias="after")
    how: Annotated[How, _how[0], _how[2]] = "reset"

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if isinstance(value, dict | cls):
            return value
        raise ValueError(f"must be a mapping as `{{after: 512 KiB}}`, not {name_of_type(value)}")

    def describe(self) -> str:
        """`reset after 512 KiB`."""
        return f"{self.how} after {units.format_size(self.after_bytes)}"


@register
class CutEffect(Effect):
    """`cut`."""

    keys: ClassVar = {"cut": Key(Cut | None, None, "the body ends early")}
    place = 50
    example = "{cut: {after: 512 KiB}}"
    to_body = "end early"
    missing: ClassVar = {"after": "after: 256 KiB"}

    def describe(self, part: Any) -> Iterator[str]:
        yield f"cut {part.cut.describe()}"

    def explain(self, part: Any) -> dict[str, Any]:
        return {"cut": {"after_bytes": part.cut.after_bytes, "how": part.cut.how}}

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        if body not in DOWN:
            return {}
        return {"cut_after_bytes": then.cut.after_bytes, "cut_resets": then.cut.how == "reset"}
