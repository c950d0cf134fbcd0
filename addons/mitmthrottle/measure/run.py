"""The measurement itself: transfers one after another, pairs interleaved.

Rule: within a pair the order is drawn anew from the seed, so that nothing that changes with time
favours one of the two; when the user interrupts, what was measured so far is kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mitmthrottle.measure.faults import Unmeasurable
from mitmthrottle.measure.fetch import fetch
from mitmthrottle.measure.findings import Pair
from mitmthrottle.measure.transfer import Transfer
from mitmthrottle.measure.way import Way, checked_url

_TRIAL_BYTES = 16_000


class Progress(Protocol):
    """Told what happens; see `terminal.py`."""

    def begins(self, what: str) -> None:
        """A transfer begins."""

    def came(self, size: float) -> None:
        """Bytes came."""

    def ended(self) -> None:
        """The transfer is over."""


@dataclass(frozen=True, slots=True)
class Singles:
    """Transfers without a control."""

    transfers: tuple[Transfer, ...]
    failures: tuple[str, ...]
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Paired:
    """Target and control."""

    pairs: tuple[Pair, ...]
    interrupted: bool


def measure(urls: Sequence[str], way: Way, progress: Progress) -> Singles:
    """Each URL once, one after another."""
    for url in urls:
        checked_url(url)
    transfers: list[Transfer] = []
    failures: list[str] = []
    interrupted = False
    for url in urls:
        try:
            transfers.append(_one(url, url, way, progress))
        except Unmeasurable as fault:
            failures.append(str(fault))
        except KeyboardInterrupt:
            interrupted = True
        if interrupted or (transfers and transfers[-1].ended == "stopped"):
            return Singles(tuple(transfers), tuple(failures), True)
    return Singles(tuple(transfers), tuple(failures), False)


def measure_pairs(
    url: str, control: str, way: Way, pairs: int, seed: str, progress: Progress
) -> Paired:
    """Target and control in turn, on a fresh connection each.

    Raises Unmeasurable where a first trial of either cannot be measured.
    """
    trial = replace(way, bytes=min(way.bytes, _TRIAL_BYTES))
    for each, what in ((url, "target, first trial"), (control, "control, first trial")):
        # Names are looked up and certificates made: what only a first request has to wait for.
        if _one(each, what, trial, progress).ended == "stopped":
            return Paired((), True)
    order = random.Random(seed)
    done: list[Pair] = []
    try:
        for number in range(1, pairs + 1):
            target_first = order.random() < 0.5
            sides = [("target", url), ("control", control)]
            found: dict[str, Transfer | str] = {}
            for name, each in sides if target_first else sides[::-1]:
                what = f"{name}, pair {number} of {pairs}"
                try:
                    transfer = _one(each, what, way, progress)
                except Unmeasurable as fault:
                    found[name] = str(fault)
                    continue
                if transfer.ended == "stopped":
                    raise KeyboardInterrupt
                found[name] = transfer
            done.append(Pair(found["target"], found["control"], target_first))
    except KeyboardInterrupt:
        return Paired(tuple(done), True)
    return Paired(tuple(done), False)


def _one(url: str, what: str, way: Way, progress: Progress) -> Transfer:
    progress.begins(what)
    try:
        return fetch(url, way, progress.came)
    finally:
        progress.ended()
