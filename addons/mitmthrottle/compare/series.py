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
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import certifi
from playwright.async_api import Playwright, Response, async_playwright

from mitmthrottle.compare.chromium import find_chromium, running_chromium
from mitmthrottle.compare.facts import CompareFailed, Comparison, Plan, Run, Variant
from mitmthrottle.compare.record import Line, assign, read_record
from mitmthrottle.compare.visit import visit
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

_NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
_ATTEMPTS = 4

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
        async with async_playwright() as playwright:
            for variant, number in order(plan.runs):
                for attempt in range(_ATTEMPTS):
                    watcher.begins(variant, number)
                    policy = plan.policy if variant == "with" else nothing
                    log_path = Path(folder, f"{variant}-{number}-{attempt}.jsonl")
                    with _proxy(plan, policy, upstream_ca, log_path) as proxy:
                        browser, run, origin = await _run(
                            playwright, chromium, proxy, plan, variant, number, watcher.says
                        )
                    if not _disturbed(run):
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


def _with_record(run: Run, lines: list[Line], origin: float) -> Run:
    return replace(
        run,
        requests=tuple(assign(run.requests, lines, origin)),
        record=tuple(line.slowed for line in lines if line.slowed is not None),
    )


def _disturbed(run: Run) -> bool:
    """Chromium drops its connections when an address of the machine comes or goes."""
    failures = [run.failure, *(request.failure for request in run.requests)]
    return any(failure is not None and _NETWORK_CHANGED in failure for failure in failures)


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
        run, origin, response = await visit(browser, plan, variant, number, say)
        if variant == "without" and not _disturbed(run):
            await _must_have_come(run, response, plan)
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


async def _must_have_come(run: Run, response: Response | None, plan: Plan) -> None:
    """Without the policy the page has to be there, or there is nothing to compare."""
    if run.failure is not None:
        raise CompareFailed(f"{plan.page} did not open: {run.failure}{_remedy(run.failure)}")
    if response is None or response.status < 400:
        return
    if response.headers.get("server", "").startswith("mitmproxy"):
        said = " ".join((await _text(response)).split())
        raise CompareFailed(f"the proxy cannot reach {plan.page}: {said}{_remedy(said)}")
    raise CompareFailed(
        f"{plan.page} answers with status {response.status}: give the address of a page that "
        "opens in a browser without a login"
    )


async def _text(response: Response) -> str:
    """What mitmproxy's page of an error says, without its markup."""
    text: str = await response.frame.evaluate("document.body.innerText")
    return text


def _remedy(reason: str) -> str:
    said = reason.lower()
    if "certificate" in said or "err_cert" in said:
        return ". Give the authority of its certificate with --cacert FILE, or --insecure"
    if "name" in said or "getaddrinfo" in said:
        return ". Is the host's name right?"
    if "no answer within" in said:
        return ". A larger --timeout gives it more time"
    return ". Does it open in a browser on this machine?"


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
    except asyncio.CancelledError:
        if came:
            raise Stopped(came[0]) from None
        raise
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)
