"""The model of a policy file.

The one rule: whoever holds a Policy holds one that makes sense; names resolve, every rule has an
effect, every quantity is a number in SI units. Files are read by load.py, which knows lines.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)

from mitmthrottle.policy.conditions import CONDITIONS
from mitmthrottle.policy.conditions.client import ClientMatch
from mitmthrottle.policy.effects.rate import PERS, BurstField, PerField, RateLimit
from mitmthrottle.policy.effects.stages import Stage
from mitmthrottle.policy.effects.upload import Upload
from mitmthrottle.policy.language.fields import Host, OneOrManyOf, Strict, name_of_type, parsed
from mitmthrottle.policy.language.hosts import HostPattern
from mitmthrottle.policy.language.printing import print_yaml
from mitmthrottle.policy.then import Then
from mitmthrottle.policy.when import When


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: give a text, or leave the key out")
    return text.strip()


def _version(value: object) -> int:
    if value != 1 or isinstance(value, bool):
        raise ValueError(f"must be `1`, the only version there is, not `{value}`")
    return 1


def _group_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"`{name}` is no name for a group: write a word, as in `photos`")
    if name in ("localhost", "true", "false", "null"):
        raise ValueError(f"`{name}` cannot name a group, it means something else: use another word")
    if not all(char.isalnum() or char in "_-" for char in name):
        raise ValueError(
            f"`{name}` cannot name a group: use letters, digits, `-` and `_` "
            "(a dot would make it a host)"
        )
    return name


def _rules(value: object) -> object:
    if isinstance(value, list | tuple) and value:
        return value
    raise ValueError(
        "must be a list of rules, each beginning with a dash as in `- then: {rate: 128 kbit/s}`, "
        f"not {name_of_type(value) if value else 'empty'}"
    )


_plain = parsed(_text, "a text", "twitter-2021")
type Text = Annotated[str, _plain[0], _plain[2]]
type GroupName = Annotated[
    str, PlainValidator(_group_name), WithJsonSchema({"type": "string", "pattern": r"^[\w-]+$"})
]


class Rule(Strict):
    """One rule. Conditions of a rule without `when` always hold."""

    name: Text = ""
    when: When = When()
    then: Then
    _line: int = PrivateAttr(0)

    def __eq__(self, other: object) -> bool:
        """Rules are equal when they say the same, wherever they stand."""
        return (
            isinstance(other, Rule)
            and self.name == other.name
            and self.when == other.when
            and self.then == other.then
        )

    @property
    def line(self) -> int:
        """1-based line of the rule in its file; 0 for a rule that comes from no file."""
        return self._line

    def at_line(self, line: int) -> Self:
        """The same rule, knowing its line."""
        rule = self.model_copy()
        rule._line = line
        return rule

    def with_rate(self, rate_bytes_per_s: float) -> Self:
        """The same rule with this rate in the place of the narrowest of its limits, in each of its
        stages too."""
        then = self.then
        changes: dict[str, object] = {"rate": _with_rate(then.rate, rate_bytes_per_s)}
        changes["stages"] = tuple(
            stage.model_copy(update={"rate": _with_rate(stage.rate, rate_bytes_per_s)})
            for stage in then.stages
        )
        changed = self.model_copy(update={"then": then.model_copy(update=changes)})
        return changed.at_line(self.line)


def _with_rate(limits: tuple[RateLimit, ...], rate_bytes_per_s: float) -> tuple[RateLimit, ...]:
    if not limits:
        return ()
    narrowest = min(limits, key=lambda limit: PERS.index(limit.per))
    return tuple(
        limit.model_copy(update={"limit_bytes_per_s": rate_bytes_per_s})
        if limit is narrowest
        else limit
        for limit in limits
    )


class Defaults(Strict):
    """What rules without their own `burst` (bytes) and `per` use."""

    burst: BurstField | None = None
    per: PerField = "response"

    def apply(self, then: Then) -> Then:
        """The effects with what they leave open filled in, uploads and stages among them."""
        changes = self._changes(then)
        if then.upload is not None:
            upload = self._changes(then.upload)
            if upload:
                changes["upload"] = then.upload.filled(upload)
        if any(stage.rate for stage in then.stages) and self.model_fields_set:
            changes["stages"] = tuple(stage.filled(self._changes(stage)) for stage in then.stages)
        return then.filled(changes) if changes else then

    def _changes(self, part: Then | Upload | Stage) -> dict[str, object]:
        changes: dict[str, object] = {}
        if part.rate and "per" in self.model_fields_set:
            changes["rate"] = tuple(self._limit(limit) for limit in part.rate)
        if part.rate and part.burst is None and self.burst is not None:
            changes["burst"] = self.burst
        return changes

    def _limit(self, limit: RateLimit) -> RateLimit:
        if "per" in limit.model_fields_set:
            return limit
        return limit.model_copy(update={"per": self.per})


class Policy(Strict):
    """A whole policy: groups, and rules of which the first that matches wins."""

    version: Annotated[int, PlainValidator(_version), WithJsonSchema({"const": 1})]
    name: Text
    description: Text = ""
    sources: OneOrManyOf[Text] = ()
    seed: Text = ""
    defaults: Defaults = Defaults()
    hosts: dict[GroupName, OneOrManyOf[Host]] = Field(default_factory=dict)
    clients: dict[GroupName, OneOrManyOf[ClientMatch]] = Field(default_factory=dict)
    rules: Annotated[tuple[Rule, ...], BeforeValidator(_rules)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        rules = tuple(
            _completed(rule, number, self.defaults) for number, rule in enumerate(self.rules, 1)
        )
        # the one place where a frozen model is still being made
        object.__setattr__(self, "rules", rules)
        object.__setattr__(self, "seed", self.seed or self.name)
        self._refuse_dangling_names()
        return self

    def _refuse_dangling_names(self) -> None:
        names: set[str] = set()
        for rule in self.rules:
            if rule.name in names:
                raise ValueError(f"two rules are named `{rule.name}`: give each its own name")
            names.add(rule.name)
            for condition in CONDITIONS:
                groups = getattr(self, condition.groups) if condition.groups else {}
                for value in (condition.groups and getattr(rule.when, condition.key)) or ():
                    if isinstance(value, str) and value not in groups:
                        raise ValueError(
                            f"rule `{rule.name}`: no group of `{condition.groups}` is named "
                            f"`{value}`"
                        )

    def host_patterns(self, rule: Rule) -> tuple[HostPattern, ...] | None:
        """The host patterns of a rule, groups resolved; None without a host condition."""
        if rule.when.host is None:
            return None
        found: list[HostPattern] = []
        for host in rule.when.host:
            found.extend(self.hosts[host] if isinstance(host, str) else (host,))
        return tuple(found)

    def to_yaml(self) -> str:
        """The text of a file that says the same (comments are lost)."""
        return print_yaml(self.model_dump(by_alias=True, exclude_unset=True))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """A JSON Schema (2020-12) of the file, for editors."""
        schema = cls.model_json_schema(by_alias=True, mode="validation")
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _completed(rule: Rule, number: int, defaults: Defaults) -> Rule:
    changes: dict[str, object] = {}
    if not rule.name:
        changes["name"] = f"rule {number}"
    then = defaults.apply(rule.then)
    if then is not rule.then:
        changes["then"] = then
    return rule.model_copy(update=changes) if changes else rule
