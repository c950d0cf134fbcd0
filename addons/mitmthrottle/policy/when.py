"""The `when` of a rule: the conditions, as values.

The one rule: every condition given must hold, and a list means any of. None means that the
condition was not given. How each is tested: conditions.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mitmthrottle.policy.conditions.active import ActiveField
from mitmthrottle.policy.conditions.client import ClientMatch
from mitmthrottle.policy.conditions.share import Share
from mitmthrottle.policy.conditions.size import SizeRange, refuse_everything
from mitmthrottle.policy.detect.content import KINDS
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import (
    FoldedPattern,
    HostOrGroup,
    Many,
    OneOrManyOf,
    PathPattern,
    Strict,
    is_number,
    name_of_type,
    parsed,
    word_of,
)

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_KIND_SLIPS: dict[str, str] = {f"{kind}s": str(kind) for kind in KINDS} | {
    "image": "photo",
    "images": "photo",
    "picture": "photo",
    "pictures": "photo",
    "movie": "video",
    "sound": "audio",
    "music": "audio",
}
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
_STATUS = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:\s*-\s*([1-5][0-9]{2}))?", re.IGNORECASE)


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"`{text}` is no method: write for example `GET`")
    method = text.upper()
    near = units.did_you_mean(method, _METHODS)
    if method not in _METHODS and near:
        raise ValueError(f"`{text}` is no method{near}")
    return method


def _port(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise ValueError(f"must be a port from 1 to 65535, not {name_of_type(value)}")
    return value


def _status(value: object) -> range:
    if isinstance(value, range):
        return value
    found = _STATUS.fullmatch(str(value)) if isinstance(value, int | str) else None
    if found is None or isinstance(value, bool):
        raise ValueError(
            f"must be a status such as `404`, `5xx` or `500-503`, not {name_of_type(value)}"
        )
    hundred, low, high = found.groups()
    if hundred:
        return range(int(hundred) * 100, int(hundred) * 100 + 100)
    if high and int(high) < int(low):
        raise ValueError(f"`{value}` is upside down: did you mean `{high}-{low}`?")
    return range(int(low), int(high or low) + 1)


def _status_text(span: range) -> int | str:
    return span.start if len(span) == 1 else f"{span.start}-{span.stop - 1}"


def _content(text: str) -> str:
    word = text.strip().lower()
    if word in KINDS or re.fullmatch(r"[*\w.+?-]+/[*\w.+?-]+", word):
        return word
    near = units.did_you_mean(word, [*KINDS, *_KIND_SLIPS]).rstrip("?")
    if near:
        found = near.split("`")[1]
        near = f": did you mean `{_KIND_SLIPS.get(found, found)}`?"
    raise ValueError(
        f"`{text}` is no content"
        + (near or ": one of `photo`, `video`, `audio`, `websocket`, or a MIME glob as `image/*`")
    )


def _share(value: object) -> Share:
    """`50%`, or `{of: responses, percent: 10}`."""
    if isinstance(value, Share):
        return value
    if isinstance(value, str) or is_number(value):
        return Share(units.parse_share(str(value)))
    if not isinstance(value, dict):
        raise ValueError(
            f"must be `50%` or `{{of: responses, percent: 10}}`, not {name_of_type(value)}"
        )
    for key in value:
        if key not in ("of", "percent"):
            near = units.did_you_mean(str(key), ["of", "percent"])
            raise ValueError(f"unknown key `{key}` in `share`{near or ': `of` and `percent` only'}")
    if "percent" not in value:
        raise ValueError("says no percentage: add `percent: 10`")
    percent = value["percent"]
    if is_number(percent):
        percent = f"{percent:.9f}%"
    if not isinstance(percent, str):
        raise ValueError(f"`percent` must be a number from 0 to 100, not {name_of_type(percent)}")
    of = word_of(("clients", "responses"), "kind of share")(str(value.get("of", "clients")))
    return Share(units.parse_share(percent), "responses" if of == "responses" else "clients")


def _share_text(share: Share) -> str | dict[str, Any]:
    if share.of == "clients":
        return f"{units.exact_percent(share.fraction)}%"
    return {"of": share.of, "percent": f"{units.exact_percent(share.fraction)}%"}


_SHARE_JSON: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%$", "examples": ["50%"]},
        {
            "type": "object",
            "properties": {
                "of": {"enum": ["clients", "responses"]},
                "percent": {"anyOf": [{"type": "number"}, {"type": "string"}]},
            },
            "required": ["percent"],
            "additionalProperties": False,
        },
    ]
}
_CODE_JSON: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": r"^([1-5]xx|[1-5][0-9]{2}(\s*-\s*[1-5][0-9]{2})?)$"},
    ]
}


def _header_name(name: object) -> str:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"`{name}` is no name of a header: write for example `accept-language`")
    return name.lower()


def _client_plain(client: ClientMatch | str) -> object:
    if isinstance(client, str):
        return client
    return client.model_dump(by_alias=True, exclude_unset=True)


@dataclass(frozen=True)
class ClientOrGroupName:
    """Annotation: text names a group of `clients`, a mapping is a condition of its own."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            self._validate,
            handler.generate_schema(ClientMatch),
            serialization=core_schema.plain_serializer_function_ser_schema(_client_plain),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "description": "a group's name"}, handler(schema)]}

    @staticmethod
    def _validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        if isinstance(value, str):
            if "." in value or ":" in value:
                raise ValueError(
                    f"`{value}` is no group of `clients`: did you mean `{{address: {value}}}`?"
                )
            return value
        if not isinstance(value, dict | ClientMatch):
            raise ValueError(
                f"must be a group's name or a mapping as `{{device: mobile}}`, "
                f"not {name_of_type(value)}"
            )
        return handler(value)


_method_item = parsed(_method, "a method", "GET")
_scheme_item = parsed(
    word_of(("http", "https"), "scheme"), "a scheme", "https", enum=["http", "https"]
)
_content_item = parsed(_content, "a kind of content or a MIME glob", "photo")
_size_item = parsed(SizeRange.parse, "a comparison with a size", ">= 100 KiB")

type Method = Annotated[str, _method_item[0], _method_item[2]]
type Scheme = Annotated[Literal["http", "https"], _scheme_item[0], _scheme_item[2]]
type Content = Annotated[str, _content_item[0], _content_item[2]]
type SizeItem = Annotated[SizeRange, _size_item[0], _size_item[1], _size_item[2]]
type Port = Annotated[
    int,
    PlainValidator(_port),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535}),
]
type Status = Annotated[
    range,
    PlainValidator(_status),
    PlainSerializer(_status_text),
    WithJsonSchema(_CODE_JSON),
]
type ShareItem = Annotated[
    Share,
    PlainValidator(_share),
    PlainSerializer(_share_text),
    WithJsonSchema(_SHARE_JSON),
]
type HeaderName = Annotated[str, PlainValidator(_header_name), WithJsonSchema({"type": "string"})]
type ClientOrGroup = Annotated[ClientMatch | str, ClientOrGroupName()]


class When(Strict):
    """All conditions of a rule; a rule with none matches everything."""

    host: Many[HostOrGroup] = None
    path: Many[PathPattern] = None
    method: Many[Method] = None
    scheme: Many[Scheme] = None
    port: Many[Port] = None
    status: Many[Status] = None
    content: Many[Content] = None
    size: Annotated[Many[SizeItem], AfterValidator(refuse_everything)] = None
    client: Many[ClientOrGroup] = None
    header: dict[HeaderName, OneOrManyOf[FoldedPattern]] | None = None
    share: ShareItem | None = None
    active: ActiveField | None = None

    @model_validator(mode="before")
    @classmethod
    def _header_given(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("header") == {}:
            raise ValueError("`header` names no header: leave it out")
        return value
