"""The proxy's own record of a visit, and which of its lines belongs to which request.

Rule: the proxy says what was slowed; nothing is guessed from times. A line belongs to the
request of the same method and URL that was waiting for a response when its headers came.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mitmthrottle.compare.facts import Request, Slowed

_SLACK_S = 0.1
"""The browser's clock and the proxy's are one, but not read at the same moment."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of `throttle_log`, as far as it matters here."""

    time: float
    """Unix time at which the response's headers had come"""
    of: tuple[str, str, str] | None
    """method, host, and path with query; None for what is no response to a request"""
    bytes: int
    slowed: Slowed | None
    """None: no rule matched"""


def read_record(path: Path) -> list[Line]:
    """All lines by their time; empty if the proxy has written none."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    rows = [json.loads(row) for row in text.splitlines()]
    return sorted(
        (_line(row) for row in rows if row["direction"] == "down"), key=lambda line: line.time
    )


def assign(requests: Sequence[Request], lines: Iterable[Line], origin: float) -> list[Request]:
    """The requests, each with what the record says of it. `origin` is the Unix time of 0 s."""
    waiting: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        if not request.cached:
            waiting[_key(request)].append(number)
    result = list(requests)
    for line in lines:
        candidates = waiting[line.of] if line.of is not None else []
        came_s = line.time - origin
        found = [n for n in candidates if _may_be(requests[n], came_s)]
        if not found:
            continue
        number = found[0]
        candidates.remove(number)
        request = requests[number]
        # Of the body alone, and also where the browser went before the end.
        result[number] = replace(request, slowed=line.slowed, bytes=line.bytes)
    return result


def _may_be(request: Request, came_s: float) -> bool:
    """The proxy has the headers after the browser asked, and before the browser has them."""
    if request.start_s > came_s + _SLACK_S:
        return False
    return request.first_byte_s is None or request.first_byte_s >= came_s - _SLACK_S


def _key(request: Request) -> tuple[str, str, str]:
    parts = urlsplit(request.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return request.method, (parts.hostname or "").lower(), path


def _line(row: dict[str, Any]) -> Line:
    is_response = row["kind"] == "response"
    slowed = None
    if row["rule"] is not None:
        slowed = Slowed(
            rule=row["rule"],
            line=row["line"],
            asked_bytes_per_s=row["asked_bytes_per_s"],
            measured_bytes_per_s=row["measured_bytes_per_s"],
            bytes=row["bytes"],
            waited_s=row["waited_s"],
            outcome=row["outcome"],
        )
    return Line(
        time=row["time"],
        of=(row["method"], row["host"].lower(), row["path"]) if is_response else None,
        bytes=row["bytes"],
        slowed=slowed,
    )
