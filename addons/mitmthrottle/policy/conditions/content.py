"""The `content` condition: what a response is, by kind or by MIME type.

The one rule: what counts as a photo, a video or audio is told by detect/content.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from mitmthrottle.policy.conditions import Bound, Condition, all_within, register
from mitmthrottle.policy.detect.content import (
    IN_PARTS,
    KINDS,
    REGISTERED_AS,
    kind_of_type,
    mime_type,
    plain_first_bytes,
    type_of_part,
)
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.facts import ENCRYPTED, FIRST_BYTES, NO, YES, Facts, listed
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import Many, parsed
from mitmthrottle.policy.language.pattern import compile_glob
from mitmthrottle.policy.language.yamltree import Spot, Warned

_KIND_SLIPS: dict[str, str] = {f"{kind}s": str(kind) for kind in KINDS} | {
    "image": "photo",
    "images": "photo",
    "picture": "photo",
    "pictures": "photo",
    "movie": "video",
    "sound": "audio",
    "music": "audio",
}


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


_content_item = parsed(_content, "a kind of content or a MIME glob", "photo")

type Content = Annotated[str, _content_item[0], _content_item[2]]


class ContentOf(Bound):
    of_response = True
    __slots__ = ("_globs", "_items", "_kinds")

    def __init__(self, items: tuple[str, ...]) -> None:
        self._items = items
        self._kinds = frozenset(item for item in items if item in KINDS)
        self._globs = [compile_glob(item) for item in items if item not in KINDS]

    def test(self, facts: Facts) -> int:
        exchange = facts.exchange
        if exchange.opaque:
            return NO
        if self._globs and not exchange.websocket:
            mime = mime_type(exchange.content_type)
            part = _type_of_part(exchange)
            if any(matches(mime) or (part and matches(part)) for matches in self._globs):
                return YES
            if mime in IN_PARTS and facts.waits_for_first_bytes:
                return FIRST_BYTES  # the part's own type may be the one
        if not self._kinds:
            return NO
        if facts.waits_for_first_bytes:
            return FIRST_BYTES
        return YES if facts.kind in self._kinds else NO

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque:
            return ENCRYPTED
        declared = mime_type(facts.exchange.content_type)
        said = f"Content-Type `{declared}`" if declared else "no Content-Type"
        if facts.waits_for_first_bytes and (self._kinds or declared in IN_PARTS):
            return f"only the body's first bytes can tell ({said})"
        if part := _type_of_part(facts.exchange):
            said += f" of parts that are `{part}`"
        found = facts.kind or "neither photo, video nor audio"
        return f"content is {found} ({said}), not {listed(self._items)}"


@register
class ContentCondition(Condition):
    """`content`."""

    key = "content"
    type = Many[Content]
    place = 70
    cost = 110
    help = "`photo`, `video`, `audio`, `websocket`, or a MIME glob"
    example = "{content: [photo, video]}"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return ContentOf(value)

    def covers(self, mine: Any, its: Any) -> bool:
        return all_within(its, mine, _covers)

    def warnings(self, value: Any, spot: Spot, now: float | None) -> Iterator[Warned]:
        for index, content in enumerate(value):
            right = REGISTERED_AS.get(content)
            if right and right not in value:
                also = f", or `{kind}`" if (kind := kind_of_type(right)) in KINDS else ""
                yield (
                    spot.node(index),
                    f"`{content}` is no registered type, and never matches `{right}`, which is "
                    f"what servers send: write `{right}`{also}",
                )


def _covers(narrow: str, wide: str) -> bool:
    if wide == narrow:
        return True
    if narrow in KINDS or set(narrow) & {"*", "?"}:
        return False
    if wide in KINDS:
        return kind_of_type(narrow) == wide
    return compile_glob(wide)(narrow) is not None


def _type_of_part(exchange: Exchange) -> str | None:
    return type_of_part(
        exchange.content_type, plain_first_bytes(exchange.first_bytes, exchange.content_encoding)
    )
