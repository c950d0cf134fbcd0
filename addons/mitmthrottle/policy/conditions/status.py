"""The `status` condition: what the server answered."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from mitmthrottle.policy.conditions import Bound, Condition, OneOf, among, register
from mitmthrottle.policy.language.fields import Many, name_of_type

_STATUS = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:\s*-\s*([1-5][0-9]{2}))?", re.IGNORECASE)


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


_CODE_JSON: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": r"^([1-5]xx|[1-5][0-9]{2}(\s*-\s*[1-5][0-9]{2})?)$"},
    ]
}

type Status = Annotated[
    range,
    PlainValidator(_status),
    PlainSerializer(_status_text),
    WithJsonSchema(_CODE_JSON),
]


@register
class StatusCondition(Condition):
    """`status`."""

    key = "status"
    type = Many[Status]
    place = 60
    cost = 40
    help = "`404`, `5xx`, `500-503`"
    example = "{status: 5xx}"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        shown = [f"{s.start}-{s.stop - 1}" if len(s) > 1 else s.start for s in value]
        return OneOf("status", frozenset(_codes(value)), shown, of_response=True)

    def covers(self, mine: Any, its: Any) -> bool:
        return its is not None and among(_codes(its), _codes(mine))


def _codes(spans: tuple[range, ...]) -> tuple[int, ...]:
    return tuple(code for span in spans for code in span)
