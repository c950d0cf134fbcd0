"""The main job, shown: phones, desktops and bystanders fetch through the proxy, and a table
tells what the policy asked for and what each client measured.

Rule: everything is real (TLS, HTTP/2, mitmdump in a process of its own, the shipped policy
file), on loopback, and the verdict is arithmetic (`verdict`), not appearance.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mitmthrottle.lab.client import Fetched, client, fetch
from mitmthrottle.lab.origin import running_origin
from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.lab.verdict import Outcome, faults, outcome, rounded
from mitmthrottle.lab.visits import OTHER_HOSTS, TWITTER_HOSTS, Visit, desktops, phones, plan
from mitmthrottle.policy import Decider, Policy, find_policy, load_policy
from mitmthrottle.policy.language.units import format_rate

POLICY = "twitter-2021"

_WIDE = 110
"""Columns that the table takes with the rules' names in full."""


def demo(console: Console, policy_name: str = POLICY) -> bool:
    """Run it and print the table; True if all was as the policy asks, and as the plan of
    visits promises of the default policy.

    Raises ProxyNotStarted, PolicyError, and httpcore's errors if a fetch fails.
    """
    path = find_policy(policy_name)
    policy = load_policy(path)
    visits = plan(phones(), desktops())
    console.print(f"Policy {policy.name}: {policy.description or ''}".rstrip(), highlight=False)
    started = time.monotonic()
    with (
        running_origin([*TWITTER_HOSTS, *OTHER_HOSTS]) as origin,
        running_proxy(path, upstream_ca=origin.ca_path, resolve=origin.resolve) as proxy,
        _watching(console, visits) as watcher,
    ):
        fetched = asyncio.run(_fetch_all(proxy, visits, watcher))
    decider = Decider(policy)
    lines = [outcome(decider, *pair) for pair in zip(visits, fetched, strict=True)]
    console.print(_table(lines, None if console.width >= _WIDE else policy))
    console.print(_summary(lines, time.monotonic() - started), highlight=False)
    found = faults(lines)
    for fault in found:
        console.print(
            f"not as asked: {fault}",
            style="bold red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if not found:
        console.print("All as the policy asks.", style="bold green")
    return not found


class _Watcher(Protocol):
    """Is told of progress while it runs."""

    def arrived(self, visit: Visit, new_bytes: int, declared: int | None) -> None: ...
    def done(self, visit: Visit, fetched: Fetched) -> None: ...


async def _fetch_all(
    proxy: RunningProxy, visits: Sequence[Visit], watcher: _Watcher
) -> list[Fetched]:
    """All visits at once; those of one visitor share its connections, as a browser's do."""
    async with contextlib.AsyncExitStack() as stack:
        sessions = {
            visitor: await stack.enter_async_context(
                client(
                    proxy.url,
                    proxy.ca_path,
                    address=visitor.address,
                    headers={"user-agent": visitor.user_agent},
                )
            )
            for visitor in dict.fromkeys(visit.visitor for visit in visits)
        }

        async def one(visit: Visit) -> Fetched:
            await asyncio.sleep(visit.start_s)
            before = 0

            def progress(size: int, declared: int | None) -> None:
                nonlocal before
                watcher.arrived(visit, size - before, declared if before == 0 else None)
                before = size

            fetched = await fetch(sessions[visit.visitor], visit.url, progress=progress)
            watcher.done(visit, fetched)
            return fetched

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(visit)) for visit in visits]
        return [task.result() for task in running]


@contextlib.contextmanager
def _watching(console: Console, visits: Sequence[Visit]) -> Iterator[_Watcher]:
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        yield _Bars(progress, visits)


class _Lines:
    """For logs and pipes: one line when a response is complete."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def arrived(self, visit: Visit, new_bytes: int, declared: int | None) -> None:
        pass

    def done(self, visit: Visit, fetched: Fetched) -> None:
        self._console.print(
            f"{time.monotonic() - self._started:5.1f} s  {visit.visitor.name}: {visit.kind} of "
            f"{visit.host}, {fetched.size} bytes in {fetched.duration_s:.2f} s",
            highlight=False,
            soft_wrap=True,
        )


class _Bars:
    """For terminals: one bar for each group of visitors and type."""

    def __init__(self, progress: Progress, visits: Sequence[Visit]) -> None:
        self._progress = progress
        groups = dict.fromkeys(self._group(visit) for visit in visits)
        self._tasks = {group: progress.add_task(group, total=0) for group in groups}
        self._totals = dict.fromkeys(groups, 0)

    @staticmethod
    def _group(visit: Visit) -> str:
        if visit.promise == "free":
            return f"{visit.kind} left alone"
        return f"{visit.kind}s, {visit.visitor.name.split()[0]}s"

    def arrived(self, visit: Visit, new_bytes: int, declared: int | None) -> None:
        group = self._group(visit)
        self._totals[group] += declared or 0
        self._progress.update(self._tasks[group], advance=new_bytes, total=self._totals[group])

    def done(self, visit: Visit, fetched: Fetched) -> None:
        pass


def _table(lines: Sequence[Outcome], narrow: Policy | None) -> Table:
    """With the rules' names, or on a narrow terminal their lines in the policy's file."""
    places = {rule.name: f"line {rule.line}" for rule in narrow.rules} if narrow else {}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("host", "type", "client", "rule"):
        table.add_column(heading, overflow="fold")
    for heading in ("asked", "measured", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        slowed = line.asked_bytes_per_s is not None
        table.add_row(
            line.visit.host,
            line.visit.kind,
            line.visit.visitor.name,
            places.get(line.rule, line.rule) if line.rule else "-",
            "full speed" if line.asked_bytes_per_s is None else format_rate(line.asked_bytes_per_s),
            rounded(line.fetched.rate_bytes_per_s),
            f"{line.fetched.duration_s:.2f} s",
            style="yellow" if slowed else "",
        )
    return table


def _summary(lines: Sequence[Outcome], took_s: float) -> str:
    def count(promise: str) -> str:
        group = [line for line in lines if line.visit.promise == promise]
        return f"{sum(line.asked_bytes_per_s is not None for line in group)} of {len(group)}"

    return (
        f"Slowed: {count('slowed')} photos and videos of phones, {count('by share')} desktops, "
        f"{count('free')} texts and bystanders. {took_s:.0f} s in all."
    )
