"""What each shipped policy of an incident promises, as asks; where it spans minutes or days, what
to write in their place in a copy. The everyday ones are in language_everyday.py.

Rule: hosts, devices, figures and effects are those of the policy's own text; only lengths of time
and sizes of quotas are scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .language_asks import DESKTOP, PHONE, Ask, Check, Seen
from .language_checks import (
    free,
    free_then,
    policed,
    policed_upload,
    rate,
    shared_rate,
    status,
)

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
    fast = free_then(7_000_000, 1500, within_s=2.0)
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
    at_once = sum(size for at, size in arrivals if at < begun + 2.0)
    said = f"{at_once} bytes in the first two seconds, then {rate(1500, settle_s=2.0)(seen)}"
    assert 7_000_000 <= at_once < 7_500_000, said
    return said


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


def incidents() -> Sequence[Promise]:
    """What was documented somewhere."""
    return [
        _delayed(),
        _full_ban(),
        _twitter(),
        _collateral(),
        _measured(),
        _timeline(),
        _video(),
        _youtube(),
    ]
