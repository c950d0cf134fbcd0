"""From pydantic's errors to messages for the person who wrote the file.

The one rule: a message says what is wrong and what would be right, in the words of the file.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from mitmthrottle.policy.conditions.active import Active
from mitmthrottle.policy.conditions.client import ClientMatch
from mitmthrottle.policy.effects.cut import Cut
from mitmthrottle.policy.effects.delay import Delay
from mitmthrottle.policy.effects.quota import Quota
from mitmthrottle.policy.effects.rate import RateLimit
from mitmthrottle.policy.effects.requests import RequestLimit
from mitmthrottle.policy.effects.stages import Stage
from mitmthrottle.policy.effects.stall import Stall
from mitmthrottle.policy.effects.upload import Upload
from mitmthrottle.policy.language.fields import name_of_type
from mitmthrottle.policy.language.units import did_you_mean
from mitmthrottle.policy.schema import Defaults, Policy, Rule
from mitmthrottle.policy.then import Then
from mitmthrottle.policy.when import When

type Loc = tuple[str | int, ...]

_MODELS: dict[str, type[BaseModel]] = {
    "rules": Rule,
    "when": When,
    "then": Then,
    "rate": RateLimit,
    "delay": Delay,
    "client": ClientMatch,
    "clients": ClientMatch,
    "defaults": Defaults,
    "active": Active,
    "stall": Stall,
    "cut": Cut,
    "requests": RequestLimit,
    "quota": Quota,
    "stages": Stage,
    "upload": Upload,
}
_EXAMPLES = {
    "version": "version: 1",
    "name": "name: my-policy",
    "rules": "rules: [...]",
    "then": "then: {rate: 128 kbit/s}",
    "limit": "limit: 128 kbit/s",
    "after": "after: 256 KiB",
    "for": "for: 10 s",
    "free": "free: 500 MiB",
}
_HINTS = {
    ("Then", "per"): "it goes with a rate, as in `rate: {limit: 128 kbit/s, per: client}`",
    ("Then", "limit"): "did you mean `rate`?",
    ("Stage", "per"): "it goes with a rate, as in `rate: {limit: 128 kbit/s, per: client}`",
}
_HOMES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("when", When),
    ("then", Then),
    ("a rule", Rule),
    ("the top level", Policy),
)


def place_of_error(error: Any) -> tuple[Loc, bool]:
    """(where, whether at the key) of one of pydantic's error dicts."""
    loc: Loc = tuple(step for step in error["loc"] if step != "[key]")
    kind = error["type"]
    return (
        loc[:-1] if kind == "missing" else loc,
        kind == "extra_forbidden" or (kind != "missing" and "[key]" in error["loc"]),
    )


def explain_error(error: Any) -> str:
    """The message of one of pydantic's error dicts."""
    loc: Loc = tuple(step for step in error["loc"] if step != "[key]")
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(loc)
    if kind == "missing":
        key = str(loc[-1])
        example = _EXAMPLES.get(key, f"{key}: …")
        if key == "limit" and "requests" in loc:
            example = "limit: 10 / min"
        return f"`{key}` is missing: add `{example}`"
    subject = _subject(loc)
    if kind == "value_error":
        said = str(error["ctx"]["error"])
        starts_itself = said.startswith(("`", "a ", "an ", "all ", "two ", "rule ", "unknown "))
        return said if starts_itself or not subject else f"{subject} {said}"
    found = name_of_type(error["input"])
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{subject} must be a mapping (`key: value`), not {found}"
    if kind in ("tuple_type", "list_type"):
        return f"{subject} must be a list, not {found}"
    return f"{subject}: {error['msg']}, not {found}"


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a model's mapping may have in a file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _subject(loc: Loc) -> str:
    names = [step for step in loc if isinstance(step, str)]
    if not names:
        return ""
    if len(loc) >= 2 and loc[-2] == "rules":
        return "a rule"
    if len(loc) >= 2 and loc[-2] == "stages":
        return "a stage"
    return f"`{names[-1]}`"


def _model_at(loc: Loc) -> type[BaseModel]:
    """The model whose mapping has the key that ends this path."""
    for step in reversed(loc[:-1]):
        if isinstance(step, str) and step in _MODELS:
            return _MODELS[step]
    return Policy


def _unknown_key(loc: Loc) -> str:
    key, model = str(loc[-1]), _model_at(loc)
    known = keys_of(model)
    hint = _HINTS.get((model.__name__, key))
    if hint:
        return f"unknown key `{key}`: {hint}"
    near = did_you_mean(key, known)
    elsewhere = [home for home, other in _HOMES if other is not model and key in keys_of(other)]
    if near and not (elsewhere and _differs(key, near)):
        return f"unknown key `{key}`{near}"
    if elsewhere:
        return f"unknown key `{key}` here: it belongs in {_quoted(elsewhere[0])}"
    listed = ", ".join(f"`{name}`" for name in known)
    return f"unknown key `{key}`: only {listed} can stand here"


def _differs(key: str, near: str) -> bool:
    """Whether the nearest key has another beginning: `active` is no slip of `rate`."""
    return near.split("`")[1][0] != key[0]


def _quoted(home: str) -> str:
    return home if " " in home else f"`{home}`"
