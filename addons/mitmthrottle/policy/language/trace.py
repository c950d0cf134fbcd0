"""A `trace`: a recorded rate over time, as a CSV file beside the policy, played again and again.

The one rule: each line says from when (`seconds`, counted from the first line) which rate holds.
It holds until the next line; the last one as long as the one before it, then all begins anew.

    seconds,rate
    0,5 Mbit/s
    1.5,800 kbit/s

Whatever the file holds, the answer is steps, or problems with the CSV's own lines.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

from mitmthrottle.policy.language.files import NotRegular, read_regular
from mitmthrottle.policy.language.problems import Problem
from mitmthrottle.policy.language.units import LONGEST_DURATION_S, parse_rate

LARGEST_TRACE_BYTES = 8 * 2**20
MOST_LINES = 20_000  # over five hours at one a second
MOST_PROBLEMS = 20  # a file in another format has a problem in each line
TRACE_SUFFIXES = (".csv", ".txt")
HEADER = ["seconds", "rate"]


class Step(NamedTuple):
    """A rate, and how long it holds."""

    for_s: float
    rate_bytes_per_s: float


class _Refused(ValueError):
    """What is wrong with a line, and in which column (of text) it begins."""

    def __init__(self, column: int, message: str) -> None:
        self.column = column
        super().__init__(message)


def read_trace(path: Path, name: str) -> tuple[tuple[Step, ...], tuple[Problem, ...]]:
    """The steps that a CSV file says; none, with problems, if it cannot be used.

    `name` is what problems call the file.
    """
    try:
        raw = read_regular(path, LARGEST_TRACE_BYTES + 1)
    except (NotRegular, IsADirectoryError):
        return _failed(name, 0, "this is no file: name a CSV file")
    except FileNotFoundError:
        return _failed(name, 0, "no such file: a trace's path is relative to the policy file")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _failed(name, 0, f"cannot be read: {reason}")
    if len(raw) > LARGEST_TRACE_BYTES:
        return _failed(name, 0, "larger than 8 MiB: thin the trace out")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _failed(name, raw.count(b"\n", 0, error.start) + 1, "this is not UTF-8: save it so")
    return parse_trace(text, name)


def parse_trace(text: str, name: str) -> tuple[tuple[Step, ...], tuple[Problem, ...]]:
    """The same, of a text."""
    problems: list[Problem] = []
    points: list[tuple[float, float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if len(points) + len(problems) >= MOST_LINES:
            return _failed(name, number, f"more than {MOST_LINES} lines: thin the trace out")
        try:
            cells = _cells(line)
            if not points and not problems and [cell.strip().lower() for cell in cells] == HEADER:
                continue
            points.append(_point(line, cells, points))
        except _Refused as refused:
            problems.append(Problem(name, number, refused.column, str(refused)))
            if len(problems) >= MOST_PROBLEMS:
                break
    if problems:
        return (), tuple(problems)
    if len(points) < 2:
        return _failed(
            name, 1, "a trace needs two lines at least, as `0,5 Mbit/s` and `1,1 Mbit/s`"
        )
    times = [time for time, _ in points]
    times.append(2 * times[-1] - times[-2])
    return tuple(
        Step(times[index + 1] - times[index], rate) for index, (_, rate) in enumerate(points)
    ), ()


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise _Refused(1, f"this is not CSV: {error}") from None


def _point(line: str, cells: list[str], before: list[tuple[float, float]]) -> tuple[float, float]:
    if len(cells) != 2:
        semicolon = ": write a comma, not `;`" if ";" in line else ", as `1.5,800 kbit/s`"
        raise _Refused(1, f"a line has two columns, `seconds` and `rate`{semicolon}")
    return _time(cells[0].strip(), before), _rate(cells[1].strip(), line.find(",") + 2)


def _time(cell: str, before: list[tuple[float, float]]) -> float:
    try:
        time_s = float(cell)
    except ValueError:
        time_s = math.nan
    if not abs(time_s) <= LONGEST_DURATION_S * 100:  # Unix seconds will do
        raise _Refused(1, f"`{cell[:40]}` is no time: write a number of seconds, without a unit")
    if before and time_s - before[-1][0] < 1e-3:
        raise _Refused(1, f"`{cell}` is not later than the line before: put the lines in order")
    return time_s


def _rate(cell: str, column: int) -> float:
    try:
        return parse_rate(cell)
    except ValueError as error:
        if "more than zero" in str(error):
            raise _Refused(
                column, f"`{cell}`: no stage can be that slow: write `8 bit/s`, the lowest rate"
            ) from None
        raise _Refused(column, str(error)) from None


def _failed(name: str, line: int, message: str) -> tuple[tuple[Step, ...], tuple[Problem, ...]]:
    return (), (Problem(name, line, 1 if line else 0, message),)
