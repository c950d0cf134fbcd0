"""Saying something of oneself to the other processes, and hearing what they say.

Rule: it is only for looking at. One short call every two seconds; who misses an answer has missed
it, and nothing depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmthrottle.policy.language.outside import shown

from .answers import MOST_PROCESSES, count, milliseconds
from .connection import StoreUnavailable

if TYPE_CHECKING:
    from .store import Store

EVERY_S = 2.0
MOST_TOLD = 100
"""processes that are told of in one answer"""
LONGEST_NAME = 64
LONGEST_CHARS = 8192
"""of what one says; a longer word is somebody else's, and not read"""


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """What one process says of itself, and how long ago."""

    process: str
    silent_s: float
    text: str


@dataclass(frozen=True, slots=True)
class PeerMessages:
    """Some of those that are there, and how many there are."""

    count: int
    messages: tuple[PeerMessage, ...]


async def exchange_status(store: Store, text: str, *, listen: bool) -> PeerMessages | None:
    """Say this of our process. What all say, ours included; None where nobody wants to know
    (`listen`), or the store does not answer."""
    names = store.names
    try:
        answer = await store.connection.run(
            "peers.lua",
            [names.fleet, names.of("members", "")],
            [store.sharing.process, text, MOST_TOLD if listen else 0],
        )
        if not listen:
            return None
        if not isinstance(answer, list):
            return None
        return PeerMessages(count(answer[0], MOST_PROCESSES), tuple(_messages(answer[1:])))
    except (
        StoreUnavailable,
        ValueError,
        IndexError,
    ):
        # Whether it is away is for others to find out.
        return None


def _messages(answer: list[str]) -> list[PeerMessage]:
    triples = zip(answer[::3], answer[1::3], answer[2::3], strict=False)
    return [
        PeerMessage(shown(process, LONGEST_NAME), milliseconds(silent_ms) / 1000, text)
        for process, silent_ms, text in triples
        if isinstance(process, str) and isinstance(text, str) and len(text) <= LONGEST_CHARS
    ]
