"""Byte ranges of HTTP (RFC 9110, section 14): which bytes does a Range header ask for.

Rule: only single ranges are served; whoever asks for several gets the whole, as the RFC
allows. Pure: text and a length in, two numbers out.
"""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE)


class Unsatisfiable(Exception):
    """No byte of the range exists: the answer is 416."""


def parse_range(header: str | None, length: int) -> tuple[int, int] | None:
    """`(start, stop)` of the bytes asked for, stop excluded; None: serve the whole.

    Raises Unsatisfiable.

    >>> parse_range("bytes=0-99", 1000), parse_range("bytes=-1", 1000)
    ((0, 100), (999, 1000))
    """
    match = _RANGE.fullmatch(header) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, length - int(last)), length
    else:
        start, stop = int(first), min(int(last) + 1 if last else length, length)
        if last and int(last) < int(first):
            return None  # not a range at all, and what is no range is ignored
    if start >= stop:
        raise Unsatisfiable
    return start, stop
