"""The runs of a comparison: with and without the policy by turns, each from nothing.

Rule: only the policy differs. Each run has a new browser and a new proxy with the throttle
loaded, so that caches are cold and a policy's clock, quotas and counts begin anew; which of
a pair goes first changes from pair to pair.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import certifi
from playwright.async_api import Error, Playwright, async_playwright

from mitmthrottle.compare.chromium import first_line, running_chromium
from mitmthrottle.compare.facts import CompareFailed, Comparison, Plan, Run, Variant
from mitmthrottle.compare.opening import NETWORK_CHANGED, PROXY_GONE, dropped, must_have_opened
from mitmthrottle.compare.record import Line, assign, read_record
from mitmthrottle.compare.visit import visit
from mitmthrottle.lab.chromium import find_chromium
from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.policy import load_policy

_NO_POLICY = """\
# Matches nothing: the throttle is loaded as in the other runs, and leaves everything alone.
version: 1
name: without
rules:
  - when: {host: nothing.invalid}
    then: {pass: true}
"""

_ATTEMPTS = 4
_LAST_EVENTS_S = 0.2

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Watcher(Protocol):
    """Is told of progress while it runs."""

    def begins(self, variant: Variant, number: int) -> None: ...
    def says(self, what: str) -> None: ...
    def disturbed(self, run: Run) -> None: ...
    def ended(self, run: Run) -> None: ...


class Stopped(Exception):
    """A signal asked for the end; its number is the argument."""


def compare(plan: Plan, watcher: Watcher) -> Comparison:
    """Make all runs of the plan, about as long as the page takes, twice `plan.runs` times.

    Raises PolicyError, ProxyNotStarted, CompareFailed, and Stopped or KeyboardInterrupt if a
    signal comes; the browser and the proxy have ended then.
    """
    policy = load_policy(plan.policy)
    return asyncio.run(
        _ended_by_signals(_compare(plan, watcher, policy.name, find_chromium(plan.chromium)))
    )


def order(runs: int) -> list[tuple[Variant, int]]:
    """
    >>> order(2)
    [('without', 1), ('with', 1), ('with', 2), ('without', 2)]
    """
    pairs: list[tuple[Variant, Variant]] = [("without", "with"), ("with", "without")]
    return [(variant, n + 1) for n in range(runs) for variant in pairs[n % 2]]


async def _compare(plan: Plan, watcher: Watcher, policy_name: str, chromium: Path) -> Comparison:
    started = time.time()
    browser = ""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-compare-") as folder:
        nothing = Path(folder, "without.yaml")
        nothing.write_text(_NO_POLICY)
        upstream_ca = _authorities(plan, Path(folder))
        async with _playwright() as playwright:
            for variant, number in order(plan.runs):
                for attempt in range(_ATTEMPTS):
                    watcher.begins(variant, number)
                    policy = plan.policy if variant == "with" else nothing
                    log_path = Path(folder, f"{variant}-{number}-{attempt}.jsonl")
                    with _proxy(plan, policy, upstream_ca, log_path) as proxy:
                        browser, run, origin = await _run(
                            playwright, chromium, proxy, plan, variant, number, watcher.says
                        )
                        if dropped(run, PROXY_GONE):
                            last = "\n".join(proxy.log().splitlines()[-5:])
                            raise CompareFailed(f"the proxy ended by itself; it said:\n{last}")
                    if not dropped(run, NETWORK_CHANGED):
                        break
                    watcher.disturbed(run)
                else:
                    raise CompareFailed(
                        f"the network of this machine changed during {_ATTEMPTS} visits in a row, "
                        "and browsers drop their connections then: try again when no interface "
                        "comes or goes (containers that start, a VPN, Wi-Fi)"
                    )
                # The proxy has ended and its record is whole.
                run = _with_record(run, read_record(log_path), origin)
                watcher.ended(run)
                runs.append(run)
    return Comparison(
        plan=plan,
        policy_name=policy_name,
        policy_text=plan.policy.read_text("utf-8"),
        browser=browser,
        started=started,
        runs=tuple(runs),
    )


@contextlib.asynccontextmanager
async def _playwright() -> AsyncIterator[Playwright]:
    try:
        async with async_playwright() as playwright:
            yield playwright
    finally:
        # Ctrl-C ends its driver too: the loop has to learn of it before it is closed.
        await asyncio.sleep(_LAST_EVENTS_S)


def _with_record(run: Run, lines: list[Line], origin: float) -> Run:
    return replace(
        run,
        requests=tuple(assign(run.requests, lines, origin)),
        record=tuple(line.slowed for line in lines if line.slowed is not None),
    )


async def _run(
    playwright: Playwright,
    chromium: Path,
    proxy: RunningProxy,
    plan: Plan,
    variant: Variant,
    number: int,
    say: Callable[[str], None],
) -> tuple[str, Run, float]:
    async with running_chromium(playwright, chromium, proxy) as browser:
        try:
            run, origin, response = await visit(browser, plan, variant, number, say)
            if variant == "without" and not dropped(run, NETWORK_CHANGED):
                await must_have_opened(run, response, plan, proxy)
        except Error as error:  # nothing of the page raises it: its faults are in the run
            raise CompareFailed(
                f"{chromium} ended by itself during a visit ({first_line(error)}): is there "
                "enough memory?"
            ) from None
        return browser.version, run, origin


@contextlib.contextmanager
def _proxy(
    plan: Plan, policy: Path, upstream_ca: Path | None, log_path: Path
) -> Iterator[RunningProxy]:
    # What no rule matches is passed on as it comes, as `mitmthrottle run` does.
    options = ["--set", "stream_large_bodies=1", "--set", f"throttle_log={log_path}"]
    if plan.insecure:
        options += ["--set", "ssl_insecure=true"]
    with running_proxy(
        policy, options=options, upstream_ca=upstream_ca, resolve=plan.resolve
    ) as proxy:
        yield proxy


def _authorities(plan: Plan, folder: Path) -> Path | None:
    """The plan's authorities and the public ones in one file: pages take things from anywhere."""
    if plan.upstream_ca is None:
        return None
    both = folder / "authorities.pem"
    both.write_text(certifi.contents() + "\n" + plan.upstream_ca.read_text("utf-8"))
    return both


async def _ended_by_signals[T](work: Coroutine[Any, Any, T]) -> T:
    """SIGTERM and SIGHUP end it as Ctrl-C does: in order, with nothing left running."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    came: list[int] = []

    def end(number: int) -> None:
        came.append(number)
        task.cancel()

    for number in _ENDING:
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except BaseException:  # a cancelled task ends with one that is no Exception
        # A signal to all of us may end the proxy first, and that is no error then.
        if came:
            raise Stopped(came[0]) from None
        this = asyncio.current_task()
        if this is not None and this.cancelling():
            raise asyncio.CancelledError from None
        raise
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)
