"""Saying something of oneself to the other processes, and hearing what they say.

Rule: it is only for looking at. One short call every two seconds; who misses an answer has missed
it, and nothing depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmthrottle.policy.language.outside import shown

from .answers import MOST_PROCESSES, count, milliseconds
from .link import Away

if TYPE_CHECKING:
    from .store import Store

EVERY_S = 2.0
MOST_TOLD = 100
"""processes that are told of in one answer"""
LONGEST_NAME = 64
LONGEST_CHARS = 8192
"""of what one says; a longer word is somebody else's, and not read"""


@dataclass(frozen=True, slots=True)
class Said:
    """What one process says of itself, and how long ago."""

    process: str
    silent_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Some of those that are there, and how many there are."""

    count: int
    said: tuple[Said, ...]


async def tell(store: Store, text: str, *, listen: bool) -> Heard | None:
    """Say this of our process. What all say, ours included; None where nobody wants to know
    (`listen`), or the store does not answer."""
    names = store.names
    try:
        answer = await store.link.run(
            "members.lua",
            [names.fleet, names.of("members", "")],
            [store.sharing.process, text, MOST_TOLD if listen else 0],
        )
        if not listen:
            return None
        if not isinstance(answer, list):
            return None
        return Heard(count(answer[0], MOST_PROCESSES), tuple(_said(answer[1:])))
    except (Away, ValueError, IndexError):  # whether it is away is for others to find out
        return None


def _said(answer: list[str]) -> list[Said]:
    triples = zip(answer[::3], answer[1::3], answer[2::3], strict=False)
    return [
        Said(shown(process, LONGEST_NAME), milliseconds(silent_ms) / 1000, text)
        for process, silent_ms, text in triples
        if isinstance(process, str) and isinstance(text, str) and len(text) <= LONGEST_CHARS
    ]
