"""Did the page open at all, and if not, whose fault is it and what helps?

Rule: a page that does not open without the policy is nothing to compare, and the user is told
why; one that does not open with it is a finding.
"""

from __future__ import annotations

import re

from playwright.async_api import Response

from mitmthrottle.compare.facts import CompareFailed, Plan, Run
from mitmthrottle.lab.proxy import RunningProxy

NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
"""Chromium drops its connections when an address of the machine comes or goes."""

PROXY_GONE = "ERR_PROXY_CONNECTION_FAILED"

_NO_TUNNEL = "ERR_TUNNEL_CONNECTION_FAILED"
"""The proxy could not connect; it alone knows why."""

_NOT_CONNECTED = re.compile(r"error establishing server connection: (.+)")


def dropped(run: Run, failure: str) -> bool:
    """Whether the page or any of its requests failed like this."""
    failures = [run.failure, *(request.failure for request in run.requests)]
    return any(each is not None and failure in each for each in failures)


async def must_have_opened(
    run: Run, response: Response | None, plan: Plan, proxy: RunningProxy
) -> None:
    """Raises CompareFailed with the reason and a remedy, unless the page is there."""
    if run.failure is not None:
        if _NO_TUNNEL in run.failure and (said := _NOT_CONNECTED.findall(proxy.log())):
            raise _unreachable(plan.page, said[-1])
        raise CompareFailed(f"{plan.page} did not open: {run.failure}{remedy(run.failure)}")
    if response is None or response.status < 400:
        return
    if response.headers.get("server", "").startswith("mitmproxy"):
        text: str = await response.frame.evaluate("document.querySelector('p')?.innerText ?? ''")
        raise _unreachable(plan.page, text or f"status {response.status}")
    raise CompareFailed(
        f"{plan.page} answers with status {response.status}: give the address of a page that "
        "opens in a browser without a login"
    )


def _unreachable(page: str, reason: str) -> CompareFailed:
    return CompareFailed(f"the proxy cannot reach {page}: {reason}{remedy(reason)}")


def remedy(reason: str) -> str:
    """
    >>> remedy("[Errno -2] Name or service not known")
    ". Is the host's name right?"
    """
    said = reason.lower()
    if "certificate" in said or "err_cert" in said:
        return ". Give the authority of its certificate with --cacert FILE, or --insecure"
    if "name or service" in said or "resolution" in said or "nodename" in said:
        return ". Is the host's name right?"
    if "no answer within" in said:
        return ". A larger --timeout gives it more time"
    return ". Does it open in a browser on this machine?"
