"""Who fetches what in the demo: phones, desktops and bystanders, each from an address of
its own.

Rule: a visit says what ought to become of it in plain words (`slowed`, `by share`, `free`),
apart from what the policy's code decides, so that the demo notices if the two part ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Promise = Literal["slowed", "by share", "free"]

TWITTER_HOSTS = ("twitter.com", "pbs.twimg.com", "video.twimg.com")
OTHER_HOSTS = ("example.org", "microsoft.com")
"""`microsoft.com` contains `t.co`: it was slowed by accident on 10 March 2021, and is not here."""

PHONES = 4
DESKTOPS = 20

_DESKTOP_NET = "127.0.7"
"""Twenty addresses of which the share takes near its mean. Elsewhere it may take 5 or 13 of
twenty, which is no fault but would look like one; a thousand tell, and a test asks them."""

_APART_S = 0.04
"""Between the first requests: thirty TLS handshakes at once would slow whom nobody slows."""

_LATER_S = 2.5
"""What must be fast starts when the slow ones are under way, on the same connections."""

_PHONE_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 "
    "(KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36",
)
_DESKTOP_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 "
    "(KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Safari/605.1.15",
)


@dataclass(frozen=True, slots=True)
class Visitor:
    name: str
    address: str
    """one of 127.0.0.0/8, where its connections come from"""
    user_agent: str


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of one visitor."""

    visitor: Visitor
    host: str
    path: str
    kind: str
    """photo, video or text: what the table calls it"""
    promise: Promise
    start_s: float = 0.0
    """seconds after the demo's first request"""

    @property
    def url(self) -> str:
        return f"https://{self.host}{self.path}"


def phones(count: int = PHONES) -> list[Visitor]:
    return [
        Visitor(f"phone {n}", f"127.0.1.{n}", _PHONE_AGENTS[n % len(_PHONE_AGENTS)])
        for n in range(1, count + 1)
    ]


def desktops(count: int = DESKTOPS) -> list[Visitor]:
    return [
        Visitor(f"desktop {n}", f"{_DESKTOP_NET}.{n}", _DESKTOP_AGENTS[n % len(_DESKTOP_AGENTS)])
        for n in range(1, count + 1)
    ]


def plan(phones: Sequence[Visitor], desktops: Sequence[Visitor]) -> list[Visit]:
    """The demo's visits, in the order of its table."""
    site, photos, videos = TWITTER_HOSTS
    visits = [Visit(phone, photos, "/photo.jpg", "photo", "slowed") for phone in phones]
    visits.append(Visit(phones[0], videos, "/video.mp4", "video", "slowed"))
    visits += [
        Visit(desktop, photos, "/photo.jpg", "photo", "by share", n * _APART_S)
        for n, desktop in enumerate(desktops, 1)
    ]
    for visitor in (phones[0], desktops[0]):
        # The second one shares its HTTP/2 connection with that visitor's photo.
        visits += [
            Visit(visitor, host, "/api/timeline.json", "text", "free", _LATER_S)
            for host in (site, photos)
        ]
        visits += [
            Visit(visitor, host, "/photo-large.jpg", "photo", "free", _LATER_S)
            for host in OTHER_HOSTS
        ]
    return visits
