"""What each `when` example of docs/policy.md promises: requests that its rule takes, and requests
that it leaves.

Rule: the effect is a delay, so that a request of any kind and size tells; only moments and
addresses that this machine cannot have are rewritten.
"""

from __future__ import annotations

import datetime
from base64 import b64encode
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from .language_asks import DESKTOP, LATE_S, PHONE, Ask, Check, Seen

DELAY_S = 0.7
IPAD = (
    "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
)
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/139.0.0.0 Safari/537.36"
OLD_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:99.0) Gecko/20100101 Firefox/99.0"


@dataclass(frozen=True)
class Example:
    """One example, in one rewriting of it."""

    text: str
    """as it stands in the page, without its comment"""
    asks: tuple[Ask, ...]
    rewritten: tuple[tuple[str, str], ...] = ()
    effect: str = "{delay: 700 ms}"
    users: bool = False
    """whether clients authenticate"""


def takes(seen: Seen) -> str:
    """The rule holds: the response is late."""
    after = seen.answer.headers_at - seen.answer.sent_at
    said = f"status {seen.answer.status} after {after:.2f} s"
    assert DELAY_S <= after < DELAY_S + 2 * LATE_S, said
    return said


def leaves(seen: Seen) -> str:
    after = seen.answer.headers_at - seen.answer.sent_at
    said = f"status {seen.answer.status} after {after:.2f} s"
    assert 0 <= after < DELAY_S - 0.1, said
    return said


def some(least: int, most: int) -> Check:
    """That many of the streams are late."""

    def check(seen: Seen) -> str:
        count = sum(answer.headers_at - answer.sent_at >= DELAY_S for answer in seen.answers)
        said = f"{count} of {len(seen.answers)}"
        assert all(answer.headers_at for answer in seen.answers), said
        assert least <= count <= most, said
        return said

    return check


def yes(what: str, host: str = "example.org", path: str = "/100b.jpg", **more: object) -> Ask:
    return Ask(what, host, path, takes, **more)  # type: ignore[arg-type]


def no(what: str, host: str = "example.org", path: str = "/100b.jpg", **more: object) -> Ask:
    return Ask(f"not {what}", host, path, leaves, **more)  # type: ignore[arg-type]


def hosts(text: str, taken: str, left: str, *rewritten: tuple[str, str]) -> Example:
    return Example(
        text,
        (*(yes(host, host) for host in taken.split()), *(no(host, host) for host in left.split())),
        rewritten,
    )


def headers(**values: str) -> dict[str, object]:
    return {"headers": tuple((name.replace("_", "-"), value) for name, value in values.items())}


def user(name: str, agent: str = DESKTOP, source: str | None = None) -> dict[str, object]:
    secret = b64encode(f"{name}:secret".encode()).decode()
    return {"headers": (("Proxy-Authorization", f"Basic {secret}"),), "agent": agent,
            "source": source}  # fmt: skip


def examples(plain_port: int, now: datetime.datetime) -> list[Example]:
    """`plain_port` is the origin's, `now` the time with a zone."""
    here = f"127.0.0.1:{plain_port}"
    return [
        hosts("host: example.com", "example.com EXAMPLE.com", "www.example.com example.org"),
        hosts("host: .example.com", "example.com a.b.example.com", "badexample.com example.org"),
        hosts('host: "*.example.com"', "www.example.com", "example.com"),
        hosts("host: [.example.com, t.co]", "img.example.com t.co", "www.t.co microsoft.com"),
        hosts(r"host: '~^cdn[0-9]+\.'", "cdn7.example.org", "cdn.example.org my.cdn7.example.org"),
        hosts("host: .web", "web", "example.org"),
        hosts("host: 192.0.2.7", here, "example.org", ("192.0.2.7", "127.0.0.1")),
        Example(
            "path: /photos/*",
            (yes("/photos/a", path="/photos/a"), no("/my/photos/a", path="/my/photos/a")),
        ),
        Example(
            r"path: '~\.(jpe?g|png)(\?|$)'",
            (yes(".jpg"), yes(".jpg with a query", path="/100b.jpg?n=1"),
             yes(".png", path="/no.png"), no(".jpgx", path="/100b.jpgx"),
             no("a page", path="/page.html")),
        ),
        Example(
            "method: [GET, HEAD]",
            (yes("GET"), yes("HEAD", method="HEAD"), no("POST", method="POST"),
             no("OPTIONS", method="OPTIONS")),
        ),
        Example("scheme: https", (yes("https", secure=True), yes("h2", h2=True), no("http"))),
        Example(
            "port: [443, 8443]",
            (yes("443", secure=True), yes("8443", "example.org:8443"), no("80")),
        ),
        Example(
            "status: [404, 5xx, 500-503]",
            (yes("404", path="/none.jpg"), yes("503", "sink.example.org", "/status/503"),
             yes("599", "sink.example.org", "/status/599"), no("200"),
             no("403", "sink.example.org", "/status/403")),
        ),
        Example(
            "content: [photo, video]",
            (yes("a photo"), yes("a video", path="/40k.mp4"), no("text", path="/page.html"),
             no("audio", path="/8mb.mp3", for_s=1.0),
             no("SVG", "sink.example.org", "/type/image/svg+xml")),
        ),
        Example(
            "content: [image/svg+xml, application/*]",
            (yes("SVG", "sink.example.org", "/type/image/svg+xml"),
             yes("JSON", path="/page.json"), no("JPEG")),
        ),
        Example(
            'size: ">= 100 KiB"',
            (yes("1 MB", path="/1mb.jpg", for_s=1.0), no("40 kB", path="/40k.jpg")),
        ),
        Example(
            'size: ">= 100 KiB, < 2 MB"',
            (yes("1 MB", path="/1mb.jpg", for_s=1.0), no("40 kB", path="/40k.jpg"),
             no("4 MB", path="/4mb.jpg")),
        ),
        Example(
            'size: ["< 1 KiB", "> 1 MB"]',
            (yes("100 bytes"), yes("4 MB", path="/4mb.jpg", for_s=1.0),
             no("40 kB", path="/40k.jpg"), no("1 MB", path="/1mb.jpg")),
        ),
        Example(
            'client: {address: [10.0.0.0/8, "2001:db8::/32"]}',
            (yes("inside", source="127.77.3.4"), no("outside", source="127.78.3.4")),
            (("10.0.0.0/8", "127.77.0.0/16"),),
        ),
        Example(
            "client: {device: [mobile, tablet]}",
            (yes("a phone", agent=PHONE), yes("a tablet", agent=IPAD),
             yes("a hint", agent=CHROME, **headers(Sec_CH_UA_Mobile="?1")), no("a desktop"),
             no("curl", agent="curl/8.5.0")),
        ),
        Example(
            'client: {user_agent: "~Firefox/1[0-9]{2}"}',
            (yes("141"), no("99", agent=OLD_FIREFOX), no("Chrome", agent=CHROME)),
        ),
        Example(
            "client: {user: alice}",
            (yes("alice", **user("alice")), no("bob", **user("bob"))),
            users=True,
        ),
        Example(
            "client: [{address: 10.0.0.7}, {user: alice, device: mobile}]",
            (yes("the address", **user("bob", source="127.77.9.7")),
             yes("alice's phone", **user("alice", PHONE)),
             no("alice's desktop", **user("alice")), no("bob's phone", **user("bob", PHONE))),
            (("10.0.0.7", "127.77.9.7"),),
            users=True,
        ),
        Example(
            'header: {accept-language: "ru*"}',
            (yes("Russian", **headers(Accept_Language="ru-RU,ru;q=0.9")),
             no("English", **headers(Accept_Language="en")), no("nothing")),
        ),
        Example(
            r'header: {referer: "~//news\\.", x-test: ["1", "yes"]}',
            (yes("both", **headers(Referer="https://news.example.org/a", X_Test="YES")),
             no("one", **headers(Referer="https://news.example.org/a")),
             no("another value", **headers(Referer="https://news.example.org/", X_Test="2"))),
        ),
        Example(
            "share: {of: responses, percent: 10}",
            (Ask("200 responses", "example.org", "/100b.jpg", some(8, 34), h2=True, streams=200,
                 every_s=0.015, at_s=9.0, for_s=6.0),),
        ),
        *_active(now),
    ]  # fmt: skip


def _active(now: datetime.datetime) -> list[Example]:
    hour = datetime.timedelta(hours=1)
    moscow, local = now.astimezone(ZoneInfo("Europe/Moscow")), now.astimezone()
    school = moscow.weekday() < 5 and 8 <= moscow.hour < 16
    # The night belongs to the day on which it began.
    night = (local - 6 * hour).weekday() >= 5 and (local.hour >= 22 or local.hour < 6)
    noon = local.weekday() >= 5 and datetime.time(12) <= local.time() < datetime.time(13, 30)
    span = "active: {from: 2021-03-10T10:00+03:00, until: 2021-05-17T00:00+03:00}"
    begin, end = (f"{moment.isoformat(timespec='seconds')}" for moment in (now - hour, now + hour))

    def at(start: float, is_taken: bool) -> Ask:
        return (yes if is_taken else no)(f"at {start:g} s", at_s=start)

    return [
        Example(
            'active: {days: mon-fri, hours: "08:00-16:00", tz: Europe/Moscow}',
            (yes("now") if school else no("now"),),
        ),
        Example(
            'active: {days: [sat, sun], hours: ["22:00-06:00", "12:00-13:30"]}',
            (yes("now") if night or noon else no("now"),),
        ),
        Example(span, (no("in 2021"),)),
        Example(
            span,
            (yes("an hour after, an hour before"),),
            (("2021-03-10T10:00+03:00", begin), ("2021-05-17T00:00+03:00", end)),
        ),
        Example(
            "active: {after: 60 s, for: 5 min}",
            (at(0.8, False), at(2.2, True), at(4.3, False)),
            (("60 s", "2 s"), ("5 min", "2 s")),
        ),
        Example(
            "active: [{for: 10 s}, {after: 1 h}]",
            (at(0.3, True), at(2.2, False), at(4.2, True)),
            (("10 s", "2 s"), ("1 h", "4 s")),
        ),
    ]
