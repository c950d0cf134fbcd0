"""What one visit to a page has shown, and what a whole comparison holds.

Rule: facts only, in SI units. Times are seconds since the browser was told to open the page,
`math.inf` is what did not happen while it was watched, None what does not apply to this page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Variant = Literal["without", "with"]
"""Without or with the policy."""

Device = Literal["phone", "desktop"]

VARIANTS: tuple[Variant, ...] = ("without", "with")


@dataclass(frozen=True, slots=True)
class Slowed:
    """What the proxy has recorded of a response that a rule matched.

    Rates in bytes per second, None where the rule sets none or there was too little to
    measure; `waited_s` is how long its bytes were held in all.
    """

    rule: str
    line: int | None
    """of the rule in the policy's file"""
    asked_bytes_per_s: float | None
    measured_bytes_per_s: float | None
    bytes: int
    waited_s: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the page, as the browser saw it."""

    url: str
    method: str
    kind: str
    """what for, in the browser's words: document, image, media, script, fetch, …"""
    start_s: float
    first_byte_s: float | None
    end_s: float | None
    """None: it was under way when the visit ended"""
    bytes: int | None
    """of the body as the proxy sent it, compressed if it was; None where nothing tells"""
    status: int | None
    failure: str | None = None
    cached: bool = False
    """nothing was sent: the browser had it already"""
    slowed: Slowed | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """A video that had begun stood still for want of data."""

    start_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class Video:
    """One video element of the page, in the order of their appearance."""

    name: str
    """file and host, or `a stream` where the page feeds it by script"""
    asked_s: float
    """when it was to load"""
    started_s: float
    """when it first played"""
    until_s: float
    """up to when it was watched: its end, all of it being there, or the visit's end"""
    stalls: tuple[Stall, ...] = ()
    error: str | None = None

    @property
    def stalled_s(self) -> float:
        return sum(stall.length_s for stall in self.stalls)


@dataclass(frozen=True, slots=True)
class Frame:
    """The page as it looked from a moment on: a JPEG, scaled down."""

    at_s: float
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Run:
    """One visit in a new browser, through a new proxy."""

    variant: Variant
    number: int
    """from 1, within its variant"""
    ttfb_s: float
    dom_content_loaded_s: float
    load_s: float
    first_contentful_paint_s: float
    largest_contentful_paint_s: float
    largest: str
    """what the largest contentful paint was of: a URL, or an element's name"""
    protocol: str
    """of the page itself: HTTP/2.0"""
    requests: tuple[Request, ...]
    videos: tuple[Video, ...]
    frames: tuple[Frame, ...]
    console_errors: tuple[str, ...]
    watched_s: float
    settled: bool
    """False: it was still loading or playing when the time was up"""
    failure: str | None = None
    """Why the page itself did not come: a rule may block it"""
    record: tuple[Slowed, ...] = ()
    """all that the proxy has slowed, also what the browser does not call a request"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compare, and how often."""

    page: str
    policy: Path
    runs: int = 3
    device: Device = "desktop"
    timeout_s: float = 60.0
    """for one visit"""
    chromium: Path | None = None
    """None: the one on the PATH"""
    upstream_ca: Path | None = None
    """PEM file of authorities to trust towards origins, besides the public ones"""
    insecure: bool = False
    """do not verify origins at all"""
    resolve: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """hosts to be found elsewhere, as `running_proxy` has it"""
    play: bool = True
    """start the videos in view that do not start by themselves, muted"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A page, visited with and without a policy: what `compare_page` answers.

    Times are in seconds since the browser was told to open the page.
    """

    plan: Plan
    """what was compared, and how often"""
    policy_name: str
    """as the policy says it"""
    policy_text: str
    """of its file"""
    browser: str
    """Chromium's version"""
    started: float
    """Unix time"""
    runs: tuple[Run, ...]
    """in the order in which they were made"""

    def of(self, variant: Variant) -> tuple[Run, ...]:
        """The runs `without` or `with` the policy."""
        return tuple(run for run in self.runs if run.variant == variant)


class CompareFailed(RuntimeError):
    """Nothing to compare; the message says in a sentence why, and what to do."""
