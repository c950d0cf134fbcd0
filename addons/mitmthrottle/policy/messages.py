"""From pydantic's errors to messages for the person who wrote the file.

The one rule: a message says what is wrong and what would be right, in the words of the file.
"""

from __future__ import annotations

from typing import Any, TypeAliasType, get_args

from pydantic import BaseModel

from mitmthrottle.policy.effects import EFFECTS, Effect, EffectSet
from mitmthrottle.policy.language.fields import name_of_type
from mitmthrottle.policy.language.units import did_you_mean
from mitmthrottle.policy.schema import Policy, Rule
from mitmthrottle.policy.then import Then
from mitmthrottle.policy.when import When

type Loc = tuple[str | int, ...]

_EXAMPLES = {
    "version": "version: 1",
    "name": "name: my-policy",
    "rules": "rules: [...]",
    "then": "then: {rate: 128 kbit/s}",
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
        effect = _effect_at(loc)
        known = _EXAMPLES if effect is None else effect.missing
        example = known.get(key, f"{key}: …")
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


def _effect_at(loc: Loc) -> Effect | None:
    """The innermost effect whose mapping this path leads into."""
    for step in reversed(loc[:-1]):
        for effect in EFFECTS:
            if step == effect.key:
                return effect
    return None


def _model_at(loc: Loc) -> type[BaseModel]:
    """The model whose mapping has the key that ends this path."""
    model: type[BaseModel] = Policy
    for step in loc[:-1]:
        for name, field in model.model_fields.items():
            if step in (name, field.alias):
                model = model_in(field.annotation) or model
                break
    return model


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field's mappings are of; None: it takes no mapping of known keys."""
    if isinstance(annotation, TypeAliasType):
        return model_in(annotation.__value__)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (model_in(each) for each in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _unknown_key(loc: Loc) -> str:
    key, model = str(loc[-1]), _model_at(loc)
    known = keys_of(model)
    hint = _hint(model, key)
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


def _hint(model: type[BaseModel], key: str) -> str | None:
    """What the effects that stand there say of a key that people write beside them."""
    table = model.table if issubclass(model, EffectSet) else ()
    return next((effect.slips[key] for effect in table if key in effect.slips), None)
