"""Fetch as a phone and as a desktop through the proxy, and compare with what the policy asks.

Rule: the policy that is asked is the file that the proxy reads, as it is now.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import urllib.request
from dataclasses import replace
from pathlib import Path

from mitmthrottle.lab.client import client, fetch
from mitmthrottle.lab.verdict import faults as faults_of
from mitmthrottle.lab.verdict import outcome, rounded
from mitmthrottle.lab.visits import Visit, Visitor
from mitmthrottle.policy import Decider, load_policy
from mitmthrottle.policy.language.units import format_rate

PROXY = "http://proxy:8080"
ADDRESS = "198.18.10.31"
PHONE = Visitor("phone", ADDRESS, "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile")
DESKTOP = Visitor("desktop", ADDRESS, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/141.0")

_LATER_S = 2.0
"""What must be fast starts while the slow ones are under way, on the same connections."""

# The desktop is of the half that the policy leaves alone: the draw goes by its address.
VISITS = (
    Visit(PHONE, "pbs.twimg.com", "/photo.jpg", "photo", "slowed"),
    Visit(PHONE, "pbs.twimg.com", "/photo-small.jpg", "photo", "slowed"),
    Visit(PHONE, "video.twimg.com", "/video.mp4", "video", "slowed"),
    Visit(PHONE, "twitter.com", "/timeline.json", "text", "free", _LATER_S),
    Visit(PHONE, "pbs.twimg.com", "/timeline.json", "text", "free", _LATER_S),
    Visit(PHONE, "example.org", "/video.mp4", "video", "free", _LATER_S),
    Visit(PHONE, "microsoft.com", "/photo-large.jpg", "photo", "free", _LATER_S),
    Visit(DESKTOP, "pbs.twimg.com", "/photo-large.jpg", "photo", "free", _LATER_S),
)
PROMISED_FOR = "twitter-2021"


def policy_path() -> Path:
    return Path("/policies", f"{os.environ.get('POLICY', PROMISED_FOR)}.yaml")


def authority() -> Path:
    """The proxy's certificate, as it hands it out."""
    through = urllib.request.build_opener(urllib.request.ProxyHandler({"http": PROXY}))
    with through.open("http://mitm.it/cert/pem", timeout=10) as answer:
        pem = answer.read()
    with tempfile.NamedTemporaryFile(delete=False, suffix=".pem") as file:
        file.write(pem)
    return Path(file.name)


async def faults() -> list[str]:
    """What is not as the policy asks, in sentences."""
    decider = Decider(load_policy(policy_path()))
    trust = authority()
    async with client(PROXY, trust) as phone, client(PROXY, trust) as desktop:

        async def one(visit: Visit):
            await asyncio.sleep(visit.start_s)
            headers = {"user-agent": visit.visitor.user_agent, "accept-encoding": "identity"}
            return await fetch(
                phone if visit.visitor is PHONE else desktop, visit.url, headers=headers
            )

        fetched = await asyncio.gather(*map(one, VISITS))
    lines = []
    for visit, came in zip(VISITS, fetched, strict=True):
        line = outcome(decider, visit, came)
        asked = line.asked_bytes_per_s
        if policy_path().stem != PROMISED_FOR:  # only what is asked can be held against it
            line = replace(
                line, visit=replace(visit, promise="free" if asked is None else "slowed")
            )
        wanted = "full speed" if asked is None else format_rate(asked)
        print(
            f"       {visit.visitor.name}, {visit.kind} of {visit.host}: {wanted} asked, "
            f"{rounded(came.rate_bytes_per_s)} measured, {came.duration_s:.2f} s, "
            f"{came.http_version}",
            flush=True,
        )
        lines.append(line)
    found = faults_of(lines)
    found += [f"{line.visit.host} came over {line.fetched.http_version} instead of HTTP/2"
              for line in lines if line.fetched.http_version != "HTTP/2"]  # fmt: skip
    return found
