"""How the values of a policy file become typed: the building blocks of the schema.

The one rule: text is parsed once, here, into the value that the rest trusts; what cannot be
parsed raises ValueError with a remedy. Bare numbers are taken from Python callers (in SI units)
and refused from files, where they lack their unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.hosts import HostPattern, is_group_word
from mitmthrottle.policy.language.pattern import TextPattern
from mitmthrottle.policy.language.zones import parse_zone

_YAML_TYPES = (str, bool, int, float, list, tuple, dict, type(None))
_QUANTITY = r"^\s*[+]?[0-9.]+\s*[a-zA-Zµ][a-zA-Z/]*\s*$"
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # of HTTP: methods, names of headers
FROM_FILE = "from_file"  # key of the validation context that says the data came from YAML


class Strict(BaseModel):
    """Base of all parts of a policy: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_alias=True,
        validate_by_name=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )

    def filled(self, values: dict[str, object]) -> Self:
        """A copy with what the file left open; it still counts as not given, and is not printed."""
        copied = self.model_copy()
        for name, value in values.items():
            object.__setattr__(copied, name, value)
        return copied


def name_of_type(value: object) -> str:
    """What a value is, in the words of a policy's author."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"the number `{value}`"
    if isinstance(value, str):
        return f"the text `{value[:60]}`"
    return "a list" if isinstance(value, list | tuple) else "a mapping (`key: value`)"


def is_number(value: object) -> bool:
    """Numbers, but not true and false."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class OneOrMany:
    """Annotation of a tuple field: one value may stand for a list of one."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], {**many, "minItems": 1}]}


@dataclass(frozen=True)
class Short:
    """Annotation of a model: a plain value stands for a mapping with this one key."""

    key: str
    of: dict[str, Any]  # JSON Schema of the plain value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._expand, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [self.of, handler(schema)]}

    def _expand(self, value: object) -> object:
        if isinstance(value, str) or is_number(value):
            return {self.key: value}
        if value is None or isinstance(value, bool | list):
            raise ValueError(
                f"must be {self.of['description']}, as in `{self.of['examples'][0]}`, "
                f"or a mapping, not {name_of_type(value)}"
            )
        return value


def _as_list(value: object) -> object:
    if value is None:
        raise ValueError("is empty: give a value, or leave the key out")
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("is an empty list: give at least one value, or leave the key out")
        return value
    return (value,)


type OneOrManyOf[T] = Annotated[tuple[T, ...], OneOrMany()]
type Many[T] = OneOrManyOf[T] | None


def parsed[T](
    parse: Callable[[str], T], what: str, example: str, **schema: Any
) -> tuple[PlainValidator, PlainSerializer, WithJsonSchema]:
    """Annotations of a field that text is parsed into by `parse`."""

    def validate(value: object) -> T:
        if isinstance(value, str):
            return parse(value)
        if not isinstance(value, _YAML_TYPES):
            return value  # type: ignore[return-value]  # already parsed, by a Python caller
        hint = f': put it in quotes, `"{value}"`' if is_number(value) else ""
        raise ValueError(f"must be {what}, as in `{example}`, not {name_of_type(value)}{hint}")

    json = {"type": "string", "description": what, "examples": [example], **schema}
    return PlainValidator(validate), PlainSerializer(str), WithJsonSchema(json)


def _quantity[N: (int, float)](
    parse: Callable[[str], N], exact: Callable[[N], str], what: str, example: str, unit: str
) -> tuple[PlainValidator, WithJsonSchema, PlainSerializer]:
    def validate(value: object, info: ValidationInfo) -> N:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if info.context and info.context.get(FROM_FILE):
                return parse(str(value))  # raises: the unit is missing
            return parse(f"{value:.20f} {unit}".replace("% %", "%"))
        raise ValueError(f"must be {what}, as in `{example}`, not {name_of_type(value)}")

    json = {"type": "string", "description": what, "examples": [example], "pattern": _QUANTITY}
    return PlainValidator(validate), WithJsonSchema(json), PlainSerializer(exact)


_rate = _quantity(units.parse_rate, units.exact_rate, "a rate", "128 kbit/s", "B/s")
_size = _quantity(units.parse_size, units.exact_size, "a size", "64 KiB", "B")
_duration = _quantity(units.parse_duration, units.exact_duration, "a duration", "300 ms", "s")

type BytesPerSecond = Annotated[float, _rate[0], _rate[1], _rate[2]]
type Bytes = Annotated[int, _size[0], _size[1], _size[2]]
type Seconds = Annotated[float, _duration[0], _duration[1], _duration[2]]

RATE_TEXT: dict[str, Any] = dict(_rate[1].json_schema or {})
DURATION_TEXT: dict[str, Any] = dict(_duration[1].json_schema or {})


def _host_or_group(text: str) -> HostPattern | str:
    return text if is_group_word(text) else HostPattern.parse(text)


def _path_pattern(text: str) -> TextPattern:
    if text and not text.startswith(("/", "*", "?", "~")):
        raise ValueError(
            f"`{text}`: a path starts with `/`: did you mean `/{text}`, "
            f"or `*{text.strip('*')}*` for anywhere in it?"
        )
    return TextPattern(text)


def _folded_pattern(text: str) -> TextPattern:
    return TextPattern(text, ignore_case=True)


_host = parsed(HostPattern.parse, "a host", ".example.com")
_reference = parsed(_host_or_group, "a host or a group's name", ".example.com")
_path = parsed(_path_pattern, "a glob or `~regex`", "/photos/*")
_text = parsed(_folded_pattern, "a glob or `~regex`", "~iPhone")

_zone = parsed(parse_zone, "the name of a time zone", "Europe/Moscow")

ZoneField = Annotated[str, _zone[0], _zone[2]]
type Host = Annotated[HostPattern, _host[0], _host[1], _host[2]]
type HostOrGroup = Annotated[HostPattern | str, _reference[0], _reference[1], _reference[2]]
type PathPattern = Annotated[TextPattern, _path[0], _path[1], _path[2]]
type FoldedPattern = Annotated[TextPattern, _text[0], _text[1], _text[2]]


def word_of(choices: tuple[str, ...], what: str) -> Callable[[str], str]:
    """A parser that takes one of a few words and offers the nearest for any other."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in choices:
            listed = ", ".join(f"`{choice}`" for choice in choices)
            near = units.did_you_mean(word, list(choices))
            raise ValueError(f"`{text}` is no {what}{near or f': one of {listed}'}")
        return word

    return parse
