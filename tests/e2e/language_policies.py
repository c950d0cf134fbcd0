"""What each shipped policy promises, as asks; where it spans minutes, days or gigabytes, what to
write in their place in a copy.

Rule: hosts, devices, figures and effects are those of the policy's own text; only lengths of time
and sizes of quotas are scaled.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from .answer import OPEN
from .language_asks import (
    DESKTOP,
    PHONE,
    Ask,
    Check,
    Seen,
    free,
    free_then,
    policed,
    policed_upload,
    rate,
    rates_over_time,
    shared_rate,
    stalls,
    status,
    upload_rate,
)

INF = float("inf")
_TV = "Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) AppleWebKit/537.36 Version/7.0 TV Safari/537.36"


@dataclass(frozen=True)
class Promise:
    """A shipped policy (`variant`: of several copies), what is rewritten in it, and the asks."""

    policy: str
    asks: tuple[Ask, ...]
    rewritten: tuple[tuple[str, str], ...] = ()
    variant: str = ""
    uploads: tuple[str, ...] = ()
    """hosts of which the origin for uploads serves port 443 and 80"""
    warned: bool = False
    """whether `check` has something to say, on purpose"""
    shares: tuple[tuple[str, str, float, float], ...] = ()
    """(host, path, least, most): the share of forty desktops that are slowed"""

    @property
    def name(self) -> str:
        return self.policy + (f", {self.variant}" if self.variant else "")


def _delayed() -> Promise:
    host = "ipv4-c001.oca.nflxvideo.net"
    fast = free_then(7_000_000, 1500)
    return Promise(
        "delayed-throttling",
        (
            Ask("a long video", host, "/20mb.mp4", fast, for_s=4.0),
            Ask("a long video, HTTP/2", host, "/20mb.mp4", fast, h2=True, for_s=4.0),
            Ask("audio", "www.netflix.com", "/8mb.mp3", fast, for_s=4.0),
            Ask("two videos of a connection", host, "/20mb.mp4", two_of_a_connection, h2=True,
                streams=2, for_s=4.0),
            Ask("a picture", host, "/4mb.jpg", free()),
            Ask("another site's video", "v.example.org", "/4mb.mp4", free()),
        ),
    )  # fmt: skip


def two_of_a_connection(seen: Seen) -> str:
    """7 MB are free for both together, and 1.5 Mbit/s is for both together."""
    arrivals = sorted(each for answer in seen.answers for each in answer.arrivals)
    begun = seen.answer.sent_at
    at_once = sum(size for at, size in arrivals if at < begun + 1.0)
    said = f"{at_once} bytes in the first second, then {rate(1500, settle_s=1.2)(seen)}"
    assert 7_000_000 <= at_once < 7_300_000, said
    return said


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


def _full_ban() -> Promise:
    host = "pbs.twimg.com"
    return Promise(
        "full-ban",
        (
            Ask("photo on a phone, before", host, "/1mb.jpg", rate(128), agent=PHONE, for_s=4.0),
            Ask("text on a phone, before", "twitter.com", "/1mb.html", free(), agent=PHONE),
            Ask("photo under way when the ban comes", host, "/20mb.jpg", rate(128), agent=PHONE,
                at_s=3.0, for_s=5.0),
            Ask("photo, after", host, "/1mb.jpg", status(451), agent=PHONE, at_s=5.5),
            Ask("text, after", "twitter.com", "/page.html", status(451), at_s=5.5),
            Ask("text, after, HTTP/2", "t.co", "/page.html", status(451), h2=True, at_s=5.5),
            Ask("another site, after", "example.org", "/1mb.jpg", free(), at_s=5.5),
            Ask("microsoft.com, after", "microsoft.com", "/1mb.jpg", free(), at_s=5.5),
        ),
        rewritten=(("2 min", "5 s"),),
        shares=((host, "/1mb.jpg", 0.35, 0.65),),
    )  # fmt: skip


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


def burst_then(burst_bytes: int, kbit: float) -> Check:
    def check(seen: Seen) -> str:
        answer = seen.answer
        at_once = sum(size for at, size in answer.arrivals if at < answer.arrivals[0][0] + 0.1)
        said = f"{at_once} bytes in 100 ms, then {rate(kbit)(seen)}"
        assert burst_bytes <= at_once < burst_bytes + 0.16 * kbit * 125, said
        return said

    return check


def study_hours(now: datetime.datetime) -> list[Promise]:
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


def _twitter() -> Promise:
    host = "pbs.twimg.com"
    return Promise(
        "twitter-2021",
        (
            Ask("photo on a phone", host, "/1mb.jpg", rate(128), agent=PHONE, for_s=4.0),
            Ask("photo on a phone, HTTP/2", host, "/1mb.jpg", rate(128), agent=PHONE, h2=True,
                for_s=4.0),
            Ask("video on a phone, TLS", "video.twimg.com", "/20mb.mp4", rate(128), agent=PHONE,
                secure=True, for_s=4.0),
            Ask("two photos of a connection", host, "/1mb.jpg", shared_rate(256, 128), agent=PHONE,
                h2=True, streams=2, for_s=4.0),
            Ask("text on a phone", "twitter.com", "/1mb.html", free(), agent=PHONE),
            Ask("another site", "example.org", "/1mb.jpg", free(), agent=PHONE),
            Ask("microsoft.com", "microsoft.com", "/1mb.jpg", free(), agent=PHONE),
            Ask("photo on a television", host, "/1mb.jpg", free(), agent=_TV),
            Ask("photo by curl", host, "/1mb.jpg", free(), agent="curl/8.5.0"),
        ),
        shares=((host, "/1mb.jpg", 0.35, 0.65),),
    )  # fmt: skip


def _collateral() -> Promise:
    slow = rate(128)
    return Promise(
        "twitter-2021-collateral",
        (
            *(
                Ask(f"{host}, whatever it carries", host, "/1mb.html", slow)
                for host in ("microsoft.com", "www.reddit.com", "t.co", "nottwitter.com")
            ),
            Ask("pbs.twimg.com", "pbs.twimg.com", "/1mb.jpg", slow, agent=PHONE, secure=True),
            Ask("two streams of a connection", "microsoft.com", "/1mb.jpg", shared_rate(128, 64),
                h2=True, streams=2, for_s=4.0),
            Ask("twimg.com", "twimg.com", "/1mb.jpg", free()),
            Ask("twitter.com.example.org", "twitter.example.org", "/1mb.jpg", free()),
            Ask("example.org", "example.org", "/1mb.jpg", free()),
        ),
        warned=True,
    )  # fmt: skip


def _measured() -> Promise:
    teeth = policed(140, 8750)
    return Promise(
        "twitter-2021-measured",
        (
            Ask("text on a desktop", "twitter.com", "/1mb.html", teeth, for_s=5.0),
            Ask("photo on a phone, TLS", "pbs.twimg.com", "/1mb.jpg", teeth, agent=PHONE,
                secure=True, for_s=5.0),
            Ask("two streams of a connection", "abs.twimg.com", "/1mb.jpg", teeth, h2=True,
                streams=2, for_s=5.0),
            Ask("an upload", "upload.twitter.com", "", policed_upload(140, 8750),
                upload_bytes=100_000, for_s=9.0),
            Ask("an upload, HTTP/2", "upload.twitter.com", "", policed_upload(140, 8750), h2=True,
                upload_bytes=100_000, for_s=9.0),
            *(
                Ask(host, host, "/1mb.jpg", free(), agent=PHONE)
                for host in ("nottwitter.com", "www.t.co", "twimg.com", "microsoft.com")
            ),
        ),
        uploads=("upload.twitter.com",),
    )  # fmt: skip


def _timeline() -> Promise:
    """Three seconds for each of its four times."""

    def at(start: float, host: str, check: Check, agent: str = DESKTOP) -> Ask:
        who = "phone" if agent == PHONE else "desktop"
        return Ask(f"{host} on a {who} from {start:g} s", host, "/1mb.jpg", check, agent=agent,
                   at_s=start, for_s=2.7)  # fmt: skip

    slow = policed(140, 8750)
    accident, narrowed, everybody, phones = 0.2, 3.2, 6.2, 9.2
    return Promise(
        "twitter-2021-timeline",
        (
            at(accident, "microsoft.com", slow),
            at(accident, "nottwitter.com", slow),
            at(narrowed, "microsoft.com", free()),
            at(narrowed, "nottwitter.com", slow),
            at(everybody, "nottwitter.com", free()),
            at(everybody, "twitter.com", slow),
            at(phones, "twitter.com", free()),
            at(phones, "pbs.twimg.com", slow, PHONE),
            Ask("an upload at the end", "upload.twitter.com", "", policed_upload(140, 8750),
                at_s=everybody, upload_bytes=50_000, for_s=4.0),
        ),
        rewritten=(("{for: 10 s}", "{for: 3 s}"), ("{for: 230 s}", "{for: 6 s}"),
                   ("{for: 680 s}", "{for: 9 s}")),
        uploads=("upload.twitter.com",),
        warned=True,
    )  # fmt: skip


def _video() -> Promise:
    return Promise(
        "video-1.5mbit",
        (
            Ask("a video", "v.example.org", "/20mb.mp4", rate(1500)),
            Ask("another, HTTP/2", "w.example.com", "/20mb.mp4", rate(1500), h2=True),
            Ask("a photo", "v.example.org", "/4mb.jpg", free()),
            Ask("text", "v.example.org", "/4mb.html", free()),
        ),
    )


def _youtube() -> Promise:
    host = "rr3---sn-4g5e6nsz.googlevideo.com"
    return Promise(
        "youtube-2024",
        (
            Ask("a video on a desktop", host, "/20mb.mp4", no_burst(128), for_s=4.0),
            Ask("whatever else", host, "/1mb.html", rate(128)),
            Ask("two streams of a connection", host, "/20mb.mp4", shared_rate(128, 64), h2=True,
                streams=2, for_s=4.0),
            Ask("a video on a phone", host, "/4mb.mp4", free(), agent=PHONE),
            Ask("the site itself", "www.youtube.com", "/1mb.html", free()),
        ),
    )  # fmt: skip


def no_burst(kbit: float) -> Check:
    def check(seen: Seen) -> str:
        first = seen.answer.arrivals[0][0]
        at_once = sum(size for at, size in seen.answer.arrivals if at < first + 0.05)
        said = f"{rate(kbit)(seen)}, {at_once} bytes in the first 50 ms"
        assert at_once <= 1024 + 0.07 * kbit * 125, said
        return said

    return check


def promises(now: datetime.datetime) -> Sequence[Promise]:
    """All of them; `now` is the local time, for what depends on it."""
    return [
        _delayed(),
        _first_minute(),
        _cafe(),
        _full_ban(),
        _household(),
        _metered(),
        *study_hours(now),
        _twitter(),
        _collateral(),
        _measured(),
        _timeline(),
        _video(),
        _youtube(),
    ]
