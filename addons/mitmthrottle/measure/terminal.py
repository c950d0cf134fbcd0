"""What a person at a terminal sees: progress on stderr, the result on stdout.

Rule: nothing here is needed by whoever calls the functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from mitmthrottle.measure import words
from mitmthrottle.measure.findings import Verdict
from mitmthrottle.measure.run import Paired, Singles
from mitmthrottle.measure.shape import Shape, shape_of
from mitmthrottle.measure.transfer import Transfer
from mitmthrottle.measure.way import Way


class Bar:
    """A line that tells which transfer runs and what has come of it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._came = 0.0

    def begins(self, what: str) -> None:
        self._came = 0.0
        self._progress.update(self._task, description=what, came="")

    def came(self, size: float) -> None:
        self._came += size
        self._progress.update(self._task, came=words.size(self._came))

    def ended(self) -> None:
        self._progress.advance(self._task)


@contextlib.contextmanager
def progress(transfers: int) -> Iterator[Bar]:
    """Show the progress of so many transfers, if stderr is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[came]}"),
        TimeElapsedColumn(),
    )
    shown = Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal,
        refresh_per_second=5,
    )  # fmt: skip
    with shown:
        yield Bar(shown, shown.add_task("", total=transfers, came=""))


def show_singles(measured: Singles, console: Console) -> None:
    """A line for each URL."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for heading in ("URL", "connect", "TLS", "first byte", "bytes", "steady", "burst", "shape"):
        table.add_column(heading, overflow="fold")
    for transfer in measured.transfers:
        shape = shape_of(transfer)
        table.add_row(
            transfer.url,
            words.seconds(transfer.connect_s),
            words.seconds(transfer.tls_s),
            words.seconds(transfer.first_byte_s),
            words.size(transfer.size),
            words.rate(shape.steady_bytes_per_s),
            words.size(shape.burst_bytes),
            shape.words,
        )
    if measured.transfers:
        console.print(table, highlight=False)
    if any(transfer.ended == "truncated" for transfer in measured.transfers):
        console.print("Not all of a body came; see the message above.", highlight=False)


def show_pairs(
    url: str, control: str, way: Way, measured: Paired, verdict: Verdict, console: Console
) -> None:
    """The verdict with what it stands on."""
    lines = [f"{words.verdict(verdict)}: {verdict.reason}"]
    if verdict.mechanism is not None:
        lines.append(words.MECHANISMS[verdict.mechanism])
    lines.append("")
    lines.append(_side("target ", url, verdict.target_bytes_per_s, verdict.target_first_byte_s,
                       verdict.target_shapes))  # fmt: skip
    lines.append(_side("control", control, verdict.control_bytes_per_s,
                       verdict.control_first_byte_s, verdict.control_shapes))  # fmt: skip
    lines.append("")
    if verdict.comparison is not None:
        lines.append(words.statistic(verdict))
        lines.append(
            f"{verdict.pairs} pairs, compared over the first {words.size(verdict.span_bytes)} of "
            f"each body{' sent' if way.upload else ''}."
        )
    if verdict.target_failures or verdict.control_failures:
        lines.append(
            f"Transfers that failed: {verdict.target_failures} of the target, "
            f"{verdict.control_failures} of the control."
        )
    both = [(pair.target, pair.control) for pair in measured.pairs]
    for one, other in both[:1]:
        if isinstance(one, Transfer) and isinstance(other, Transfer):
            caution = words.caution(one.address, other.address, way.proxy is not None)
            lines += [caution] if caution else []
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _side(
    name: str,
    url: str,
    bytes_per_s: float | None,
    first_byte_s: float | None,
    shapes: tuple[Shape, ...],
) -> str:
    described = ""
    if shapes:
        kinds = [shape.kind for shape in shapes]
        common = max(set(kinds), key=kinds.count)
        described = ", " + next(shape.words for shape in shapes if shape.kind == common)
    return (
        f"{name}  {words.rate(bytes_per_s)}, first byte after {words.seconds(first_byte_s)}"
        f"{described}: {url}"
    )
