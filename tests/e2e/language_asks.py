"""Requests, and what ought to become of them: the tables of the shipped policies' and the examples'
tests are made of these.

Rule: an ask says in plain facts who asks for what and when; its check reads nothing but what came
and when, and tells what it measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mitmthrottle.lab.proxy import RunningProxy

from .answer import OPEN, Answer
from .http1 import http1
from .http2 import http2
from .language_sink import Sink
from .language_upload import upload

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"

FILES = {
    "100b.jpg": 100,
    "page.json": 1_000,
    "page.html": 40_000,
    "40k.jpg": 40_000,
    "40k.mp4": 40_000,
    "70k.jpg": 70_000,
    "1mb.jpg": 1_000_000,
    "1mb.html": 1_000_000,
    "1mb.bin": 1_000_000,
    "4mb.jpg": 4_000_000,
    "4mb.mp4": 4_000_000,
    "4mb.html": 4_000_000,
    "8mb.mp3": 8_000_000,
    "20mb.bin": 20_000_000,
    "20mb.jpg": 20_000_000,
    "20mb.mp4": 20_000_000,
    "20mb.html": 20_000_000,
    "300mb.mp4": 300_000_000,
}
"""What the origin has under every name, in bytes; holes, since what they say does not matter."""

APART_S = 0.1
"""Between those who may ask at any time: a hundred at once would all be late."""

LATE_S = 0.2
"""What asking may cost besides, on a busy machine."""


@dataclass(frozen=True)
class Seen:
    """What came of an ask. Times are of `time.perf_counter`."""

    answers: Sequence[Answer]
    begun: float
    """the policy's start"""
    uploaded: tuple[tuple[float, int], ...] = ()
    """when how much of an upload came to the origin"""
    asked_at: float = 0.0
    """when the client began to connect"""

    @property
    def answer(self) -> Answer:
        return self.answers[0]


Check = Callable[[Seen], str]
"""Tells what was measured; AssertionError, saying so too, if it is not what it ought to be."""


@dataclass(frozen=True)
class Ask:
    """A request (or several streams of one connection, or one after the other on it)."""

    what: str
    host: str
    path: str
    check: Check
    agent: str = DESKTOP
    headers: tuple[tuple[str, str], ...] = ()
    source: str | None = None
    """None: an address of its own"""
    method: str = "GET"
    secure: bool = False
    h2: bool = False
    streams: int = 1
    rows: int = 1
    """how many, one after the other on the connection"""
    every_s: float = 0.0
    """between two streams"""
    at_s: float = 0.0
    """seconds after the policy's start; 0: any time, soon"""
    for_s: float = 3.0
    """leaves after that"""
    upload_bytes: int = 0


@dataclass
class Told:
    """What the checks of a policy have said."""

    figures: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    """what the faults were about, by `what`"""

    def of(self, what: str, check: Callable[[], str]) -> None:
        try:
            self.figures.append((what, check()))
        except AssertionError as fault:
            self.figures.append((what, f"WRONG: {fault}"))
            self.faults.append(f"{what}: {fault}")
            self.failed.add(what)


def again(asks: Sequence[Ask], failed: set[str]) -> list[Ask]:
    """Those that have failed, with all that have to do with the same host or case: the others would
    only keep the machine busy."""

    def about(ask: Ask) -> tuple[str, tuple[tuple[str, str], ...]]:
        return ask.host.replace("-up.", ".").removeprefix("up-"), ask.headers

    wanted = {about(ask) for ask in asks if ask.what in failed}
    return [ask for ask in asks if about(ask) in wanted]


def run(proxy: RunningProxy, sink: Sink, asks: Sequence[Ask], net: int, begun: float) -> Told:
    """Ask all at their times; each has an address of 127.`net`.0.0/16 of its own."""

    def one(numbered: tuple[int, Ask]) -> Seen:
        number, ask = numbered
        source = ask.source or f"127.{net}.{number // 250}.{number % 250 + 1}"
        at_s = ask.at_s or APART_S * number
        time.sleep(max(0.0, begun + at_s - time.perf_counter()))
        if ask.upload_bytes:
            return _upload(proxy, sink, ask, source, f"/{net}-{number}", begun)
        return Seen(_get(proxy, ask, source), begun)

    told = Told()
    with ThreadPoolExecutor(max(1, len(asks))) as pool:
        jobs = [pool.submit(one, each) for each in enumerate(asks)]
        for ask, job in zip(asks, jobs, strict=True):
            seen = job.result()
            told.of(ask.what, lambda ask=ask, seen=seen: ask.check(seen))  # type: ignore[misc]
    return told


def _get(proxy: RunningProxy, ask: Ask, source: str) -> list[Answer]:
    headers = [*ask.headers]
    until = time.perf_counter() + ask.for_s
    if not ask.h2:
        client = http1(proxy, ask.host, secure=ask.secure, source=source, keep=False)
        answers = []
        for _ in range(ask.rows):
            sent_at = time.perf_counter()
            client.send(ask.method, ask.path, [("User-Agent", ask.agent), *headers])
            answers.append(client.receive(until=until))
            answers[-1].sent_at = sent_at
        client.close()
        return answers
    streams = http2(proxy, ask.host, source=source, keep=False)
    fields = [("user-agent", ask.agent), *((name.lower(), value) for name, value in headers)]
    answers = []
    for _ in range(ask.streams):
        answers.append(streams.send(ask.method, ask.path, fields))
        if ask.every_s:
            streams.run(lambda: False, until=time.perf_counter() + ask.every_s)
    streams.run(lambda: all(each.end != OPEN for each in answers), until=until)
    streams.close()
    return answers


def _upload(
    proxy: RunningProxy, sink: Sink, ask: Ask, source: str, path: str, begun: float
) -> Seen:
    protocol = "h2" if ask.h2 else "http/1.1"
    asked_at = time.perf_counter()
    upload(
        proxy, ask.host, path, ask.upload_bytes,
        protocol=protocol, secure=ask.secure or ask.h2, source=source, for_s=ask.for_s,
    )  # fmt: skip
    return Seen([], begun, tuple(sink.last(path).arrivals), asked_at)
