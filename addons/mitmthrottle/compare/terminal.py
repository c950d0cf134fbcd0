"""What the terminal shows: progress while it runs, then the findings and the table.

Rule: the figures are the report's own; a pipe gets one plain line a run instead of a bar.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from mitmthrottle.compare import words
from mitmthrottle.compare.facts import Comparison, Plan, Run, Variant
from mitmthrottle.compare.figures import figures
from mitmthrottle.compare.series import Watcher

_NAMES = {"without": "without the policy", "with": "with the policy"}


@contextlib.contextmanager
def watching(console: Console, plan: Plan) -> Iterator[Watcher]:
    """Show how far it is, until the block ends."""
    if not console.is_terminal:
        yield _Lines(console, plan)
        return
    with Progress(
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        yield _Bar(console, plan, progress)


def show(console: Console, comparison: Comparison) -> None:
    """The findings and the table."""
    console.print(_table(comparison))
    for finding in words.findings(comparison):
        console.print(finding, highlight=False, markup=False, soft_wrap=True)


class _Lines:
    def __init__(self, console: Console, plan: Plan) -> None:
        self._console = console
        self._plan = plan

    def begins(self, variant: Variant, number: int) -> None:
        pass

    def says(self, what: str) -> None:
        pass

    def disturbed(self, run: Run) -> None:
        self._print(f"{_name(run, self._plan)}: the machine's network changed, once more")

    def ended(self, run: Run) -> None:
        if run.failure is not None:
            self._print(f"{_name(run, self._plan)}: {run.failure}")
            return
        slowed = sum(request.slowed is not None for request in run.requests)
        largest = words.amount(run.largest_contentful_paint_s, "s")
        self._print(
            f"{_name(run, self._plan)}: largest paint {largest}, "
            f"{len(run.requests)} requests, {slowed} slowed, watched {run.watched_s:.0f} s"
        )

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Bar(_Lines):
    def __init__(self, console: Console, plan: Plan, progress: Progress) -> None:
        super().__init__(console, plan)
        self._progress = progress
        self._task: TaskID = progress.add_task("", total=2 * plan.runs)
        self._what = ""

    def begins(self, variant: Variant, number: int) -> None:
        self._what = f"run {number} of {self._plan.runs}, {_NAMES[variant]}"
        self._progress.update(self._task, description=f"{self._what}: starting")

    def says(self, what: str) -> None:
        self._progress.update(self._task, description=f"{self._what}: {what}")

    def ended(self, run: Run) -> None:
        super().ended(run)
        self._progress.advance(self._task)


def _name(run: Run, plan: Plan) -> str:
    return f"run {run.number} of {plan.runs}, {_NAMES[run.variant]}"


def _table(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"median of {comparison.plan.runs}")
    for heading in ("without", "with", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures(comparison):
        unit = figure.metric.unit
        table.add_row(
            figure.metric.label,
            words.amount(figure.without.median, unit),
            words.amount(figure.with_.median, unit),
            words.difference(figure),
        )
    return table
