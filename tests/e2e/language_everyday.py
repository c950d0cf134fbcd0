"""What each everyday policy promises, as asks; where it spans a minute, a day or gigabytes, what to
write in their place in a copy.

Rule: as in language_policies.py: only lengths of time, hours and sizes of quotas are rewritten.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from .answer import OPEN
from .language_asks import Ask, Seen
from .language_checks import (
    burst_then,
    free,
    free_then,
    rate,
    rates_over_time,
    stalls,
    upload_rate,
)
from .language_policies import Promise

INF = float("inf")


def _first_minute() -> Promise:
    """300 ms for the minute: two seconds at full speed would be a gigabyte."""
    parts = rates_over_time((0, 0.3, INF), (0.8, 3, 1000), from_start=False)
    return Promise(
        "first-minute-fast",
        (
            Ask("a long video", "v.example.org", "/300mb.mp4", parts),
            Ask("one begun later", "v.example.org", "/300mb.mp4", parts, at_s=3.2),
            Ask("a short video", "v.example.org", "/40k.mp4", free(0.5), at_s=6.5),
            Ask("a picture", "v.example.org", "/4mb.jpg", free(), at_s=6.5),
        ),
        rewritten=(("60 s", "300 ms"),),
    )


def _cafe() -> Promise:
    """Which of the responses break off is drawn; so the long ones are three, and one that is not
    cut tells. See also the test of its delays."""
    host = "v.example.org"
    return Promise(
        "flaky-cafe",
        (
            *(
                Ask(f"a long video, {n} of 3", host, "/20mb.mp4", cafe_stalls, for_s=12.0)
                for n in (1, 2, 3)
            ),
            Ask("text", host, "/4mb.html", free()),
        ),
    )


def cafe_stalls(seen: Seen) -> str:
    if seen.answer.end != OPEN and seen.answer.size == 48 * 1024:
        return "one of those that break off"
    return stalls((512 * 1024, 2.0), (512 * 1024 + 2 * 1024 * 1024, 2.0))(seen)


def _household() -> Promise:
    mine = "127.200.0.1"
    return Promise(
        "household-fair-share",
        (
            Ask("one client alone", "v.example.org", "/20mb.mp4", free_then(2_000_000, 8000),
                source=mine, for_s=3.5),
            *(
                Ask(f"one of four clients, {n}", "v.example.org", "/20mb.mp4",
                    rates_over_time((1.5, 3.9, 5000), from_start=False),
                    at_s=4.0, for_s=4.0, source=f"127.200.1.{n}")
                for n in range(1, 5)
            ),
            Ask("at home", "nas.local", "/4mb.mp4", free()),
            Ask("text", "v.example.org", "/4mb.html", free(), at_s=0.8),
            Ask("an upload", "up.example.org", "", upload_rate(2000), upload_bytes=700_000,
                for_s=6.0),
            Ask("an upload, HTTP/2", "up.example.org", "", upload_rate(2000), h2=True,
                upload_bytes=700_000, for_s=6.0),
        ),
        rewritten=(("5 GB, per", "2 MB, per"),),
        uploads=("up.example.org",),
    )  # fmt: skip


def _metered() -> Promise:
    mine = "127.201.0.1"
    return Promise(
        "metered-link",
        (
            Ask("a photo and its burst", "v.example.org", "/1mb.jpg",
                burst_then(64 * 1024, 2000), for_s=2.5),
            *(
                Ask(f"two of a client, {n}", "v.example.org", "/20mb.mp4",
                    rate(1000, settle_s=0.8, tolerance=0.08), source=mine)
                for n in (1, 2)
            ),
            Ask("audio", "v.example.org", "/8mb.mp3", rate(2000)),
            Ask("a small photo", "v.example.org", "/40k.jpg", free(0.5)),
            Ask("a large download", "v.example.org", "/20mb.bin", rate(1000)),
            Ask("a small download", "v.example.org", "/1mb.bin", free()),
            Ask("text", "v.example.org", "/4mb.html", free(), at_s=1.0),
            Ask("at home", "nas.home.arpa", "/4mb.mp4", free(), at_s=1.0),
        ),
    )  # fmt: skip


def _study_hours(now: datetime.datetime) -> list[Promise]:
    """Now within the hours; within them on another day; and on the day outside them."""
    hour = datetime.timedelta(hours=1)

    def hours(start: datetime.datetime, stop: datetime.datetime) -> str:
        return f'hours: "{start:%H:%M}-{stop:%H:%M}"'

    around, later = hours(now - hour, now + hour), hours(now + 2 * hour, now + 3 * hour)
    other_day = f"{now + datetime.timedelta(days=3):%a}".lower()
    free_all = (
        Ask("a video", "rr1.googlevideo.com", "/1mb.jpg", free()),
        Ask("a lesson", "cdn.khanacademy.org", "/4mb.mp4", free()),
    )
    crawl = rate(256)
    within = (
        Ask("a video", "rr1.googlevideo.com", "/20mb.mp4", crawl),
        Ask("a photo, HTTP/2", "scontent.cdninstagram.com", "/1mb.jpg", crawl, h2=True),
        Ask("text", "www.tiktok.com", "/1mb.html", free()),
        Ask("a lesson", "cdn.khanacademy.org", "/4mb.mp4", free()),
        Ask("another site", "example.org", "/1mb.jpg", free()),
    )
    asked = 'days: mon-fri, hours: "08:00-16:00"'
    return [
        Promise("study-hours", within, ((asked, f"days: mon-sun, {around}"),), "now"),
        Promise("study-hours", free_all, ((asked, f"days: mon-sun, {later}"),), "later"),
        Promise("study-hours", free_all, ((asked, f"days: {other_day}, {around}"),), "another day"),
    ]


def everyday(now: datetime.datetime) -> Sequence[Promise]:
    """`now` is the local time, for what depends on it."""
    return [_first_minute(), _cafe(), _household(), _metered(), *_study_hours(now)]
