"""Does a response that is under way follow a change of the policy?

Rule: it fetches the video as a phone and says `under way`; once the policy's file has changed
it measures what the rate has become, by its own clock. Exit status 1 if it is not the new one.
"""

from __future__ import annotations

import asyncio
import sys
import time

from slowness import ADDRESS, PHONE, PROXY, authority, policy_path

from mitmthrottle.lab.client import client, fetch
from mitmthrottle.policy import Decider, Exchange, Policy, load_policy
from mitmthrottle.policy.language.units import format_rate

HOST, PATH = "video.twimg.com", "/video.mp4"
_SETTLE_S = 1.0
"""From the change of the file until the new rate has to hold."""
_TOLERANCE = 0.1


def asked(policy: Policy) -> float:
    """Bytes per second; 0 if no rule slows the video."""
    exchange = Exchange(
        host=HOST,
        path=PATH,
        status=200,
        request_headers={"user-agent": PHONE.user_agent},
        content_type="video/mp4",
        size=None,
        client_address=ADDRESS,
    )
    rule = Decider(policy).decide(exchange).rule
    return min((limit.limit_bytes_per_s for limit in rule.then.rate), default=0.0) if rule else 0.0


async def main() -> int:
    path = policy_path()
    before = path.stat()
    changed_at = 0.0
    arrivals: list[tuple[float, int]] = []

    def progress(size: int, _: int | None) -> None:
        nonlocal changed_at
        arrivals.append((time.monotonic(), size))
        if len(arrivals) == 20:
            print("under way", flush=True)
        now = path.stat()
        if not changed_at and (now.st_mtime_ns, now.st_ino) != (before.st_mtime_ns, before.st_ino):
            changed_at = time.monotonic()

    old = asked(load_policy(path))
    async with client(PROXY, authority()) as phone:
        await fetch(
            phone,
            f"https://{HOST}{PATH}",
            headers={"user-agent": PHONE.user_agent},
            progress=progress,
        )
    if not changed_at:
        print("the policy's file has not changed while the video came")
        return 1
    wanted = asked(load_policy(path))
    slow = [at for at in arrivals if at[0] <= changed_at]
    new = [at for at in arrivals if at[0] >= changed_at + _SETTLE_S]
    if len(slow) < 2 or len(new) < 2:
        print("the video was over too soon to tell")
        return 1
    was, became = _rate(slow), _rate(new)
    print(
        f"asked {format_rate(old)}, then {format_rate(wanted)}; "
        f"measured {format_rate(round(was))}, then {format_rate(round(became))} "
        f"from {_SETTLE_S:.0f} s after the change on"
    )
    return 0 if abs(became / wanted - 1) <= _TOLERANCE else 1


def _rate(arrivals: list[tuple[float, int]]) -> float:
    (began, first), (ended, last) = arrivals[0], arrivals[-1]
    return (last - first) / (ended - began)


sys.exit(asyncio.run(main()))
