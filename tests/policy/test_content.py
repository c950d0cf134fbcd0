"""What counts as photo, video and audio, and what has to be waited for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.policy import Decider, Exchange, classify, needs_first_bytes, parse_policy
from mitmthrottle.policy.content import type_of_part

NOTHING = [
    None,
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "text/plain; charset=utf-8",
]
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
TS = (b"G\x40\x00\x10" + bytes(184)) * 3
BMP = b"BM\x46\x00\x00\x00" + bytes(4) + b"\x36\x00\x00\x00\x28" + bytes(40)
MP3 = b"\xff\xfb\x90\x64" + bytes(32)
ADTS = b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(32)


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/jpeg", "photo"),
        ("Image/WebP; x=y", "photo"),
        ("image/avif", "photo"),
        ("image/heic", "photo"),
        ("image/svg+xml", None),
        ("image/x-icon", None),
        ("image/vnd.microsoft.icon", None),
        ("video/mp4", "video"),
        ("video/mp2t", "video"),
        ("application/vnd.apple.mpegurl", "video"),
        ("application/x-mpegURL", "video"),
        ("audio/mpegurl", "video"),
        ("application/dash+xml", "video"),
        ("application/vnd.yt-ump", "video"),
        ("audio/mpeg", "audio"),
        ("audio/ogg; codecs=opus", "audio"),
        ("text/html; charset=utf-8", None),
        ("application/json", None),
        ("font/woff2", None),
    ],
)
def test_the_content_type_decides_first(content_type: str, kind: str | None) -> None:
    assert not needs_first_bytes(content_type, None)
    for head in (None, JPEG, TS):
        assert classify(content_type, "image", head, "/a.mp4") == kind


@pytest.mark.parametrize("content_type", NOTHING)
@pytest.mark.parametrize(
    ("destination", "kind"), [("image", "photo"), ("video", "video"), ("audio", "audio")]
)
def test_then_what_the_browser_wants_it_for(
    content_type: str | None, destination: str, kind: str
) -> None:
    assert not needs_first_bytes(content_type, destination)
    assert classify(content_type, destination, TS, "/a.mp3") == kind


@pytest.mark.parametrize("content_type", NOTHING)
@pytest.mark.parametrize("destination", [None, "", "empty", "document", "script"])
def test_then_only_the_first_bytes_can_tell(
    content_type: str | None, destination: str | None
) -> None:
    assert needs_first_bytes(content_type, destination)
    assert classify(content_type, destination, JPEG, "/a.mp4") == "photo"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG, "photo"),
        (b"\x89PNG\r\n\x1a\n\x00", "photo"),
        (b"GIF89a", "photo"),
        (b"GIF87a", "photo"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "photo"),
        (b"\x00\x00\x00\x1cftypavif", "photo"),
        (b"\x00\x00\x00\x1cftypheic", "photo"),
        (b"\x00\x00\x00\x1cftypmif1", "photo"),
        (BMP, "photo"),
        (b"II*\x00\x08", "photo"),
        (b"\x00\x00\x00\x20ftypisom", "video"),
        (b"\x00\x00\x00\x14ftypqt  ", "video"),
        (b"\x00\x00\x00\x18stypmsdh", "video"),
        (b"\x00\x00\x00\x68moof", "video"),
        (b"\x00\x00\x00\x2csidx", "video"),
        (b"\x1aE\xdf\xa3\x01\x00", "video"),
        (TS, "video"),
        (b"FLV\x01\x05", "video"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "video"),
        (b"OggS\x00\x02" + bytes(22) + b"\x80theora", "video"),
        (b"#EXTM3U\n#EXT-X-VERSION:3", "video"),
        (b"\xef\xbb\xbf#EXTM3U\n", "video"),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn">', "video"),
        (b"<MPD>", "video"),
        (b"OggS\x00\x02" + bytes(22) + b"\x01vorbis", "audio"),
        (b"\x00\x00\x00\x1cftypM4A ", "audio"),
        (b"ID3\x04", "audio"),
        (MP3, "audio"),
        (ADTS, "audio"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "audio"),
        (b"fLaC\x00", "audio"),
        (b"\x00\x00\x01\x00\x01\x00", None),
        (b"%PDF-1.7", None),
        (b"PK\x03\x04", None),
        (b"<html><body>", None),
        (b"Good morning, this is a text that begins with a G", None),
        (b"BMW makes cars, and this is a text about them", None),
        (b"\xff\xfe<\x00h\x00t\x00m\x00l\x00", None),
    ],
)
def test_magic_numbers(head: bytes, kind: str | None) -> None:
    assert classify(None, None, head, "/") == kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/a.JPG", "photo"),
        ("/a.webp?x=1.html", "photo"),
        ("/seg-1.m4s", "video"),
        ("/encrypted.ts", "video"),
        ("/live.m3u8#t=1", "video"),
        ("/song.opus", "audio"),
        ("/logo.svg", None),
        ("/favicon.ico", None),
        ("/jpg", None),
        ("/a.jpg/b", None),
        ("/", None),
    ],
)
def test_last_the_path(path: str, kind: str | None) -> None:
    assert classify(None, None, b"\x00\x01\x02unknown\xff", path) == kind
    assert classify(None, None, b"", path) == kind


def test_a_readable_text_is_no_video_whatever_its_extension() -> None:
    assert classify("text/plain", None, b"import { x } from './y'\n", "/main.ts") is None


# -- several ranges in one response

RANGES = "multipart/byteranges; boundary=00000000000000000001"


def part(content_type: str | None, body: bytes = b"\x00\x01\x02unknown\xff") -> bytes:
    """How nginx begins the body of several ranges."""
    declared = f"Content-Type: {content_type}\r\n" if content_type else ""
    return (
        f"\r\n--00000000000000000001\r\n{declared}Content-Range: bytes 0-99/300\r\n\r\n"
    ).encode() + body


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (part("video/mp4"), "video"),
        (part("Image/JPEG; q=1"), "photo"),
        (part("video/mp4").replace(b"Content-Type: ", b"content-type:"), "video"),
        (part("video/mp4").lstrip(), "video"),  # as others begin it, without the first line end
        (part("text/html", JPEG), None),  # the server's word counts, as for a single range
        (part("application/octet-stream", JPEG), "photo"),
        (part(None, TS), "video"),
        (part("text/plain"), "audio"),  # by the path
        (b"--no headers at all" + bytes(600), "audio"),
        (b"", "audio"),
    ],
)
def test_several_ranges_are_what_their_first_part_says(head: bytes, kind: str | None) -> None:
    assert needs_first_bytes(RANGES, None)
    assert needs_first_bytes(RANGES, "image")  # the part's type decides before the browser
    assert not needs_first_bytes(RANGES, None, head)
    assert classify(RANGES, None, head, "/a.mp3") == kind


def test_where_the_part_says_nothing_the_browser_is_asked_before_its_bytes() -> None:
    assert classify(RANGES, "video", part("binary/octet-stream", JPEG), "/a.mp3") == "video"
    assert classify(RANGES, "video", part("image/png", TS), "/a.mp3") == "photo"


def test_the_headers_of_a_part_are_waited_for() -> None:
    head = part("video/mp4", b"")
    for size in range(1, len(head)):
        assert needs_first_bytes(RANGES, None, head[:size])
    assert not needs_first_bytes(RANGES, None, head)
    assert not needs_first_bytes(RANGES, None, head[:-1] + b"x" * 600)
    assert not needs_first_bytes("text/plain", None, b"x")


@pytest.mark.parametrize("content", ["video", "video/*"])
def test_a_rule_waits_for_the_part_and_then_holds_or_not(content: str) -> None:
    decider = Decider(
        parse_policy(
            "version: 1\nname: t\nrules:\n"
            f"  - {{name: it, when: {{content: '{content}'}}, then: {{rate: 8 kB/s}}}}\n",
            "policy.yaml",
        )
    )

    def decided(head: bytes | None, *, complete: bool = False) -> tuple[bool, str | None]:
        exchange = Exchange(
            "a.example", content_type=RANGES, status=206, size=900, head=head, complete=complete
        )
        decision = decider.decide(exchange)
        return decision.needs_head, decision.rule.name if decision.rule else None

    assert decided(None) == (True, None)
    assert decided(part("video/mp4")[:30]) == (True, None)
    assert decided(part("video/mp4")[:30], complete=True) == (False, None)
    assert decided(part("video/mp4")) == (False, "it")
    assert decided(part("image/jpeg")) == (False, None)


def test_the_type_of_other_responses_is_not_looked_for_in_their_bodies() -> None:
    for content_type in (None, "text/plain", "multipart/mixed; boundary=x", "video/mp4"):
        assert type_of_part(content_type, part("video/mp4")) is None


@given(st.text(max_size=20) | st.none() | st.just(RANGES), st.text(max_size=20) | st.none(),
       st.binary(max_size=600) | st.none(), st.text(max_size=30))  # fmt: skip
def test_anything_may_come(
    content_type: str | None, destination: str | None, head: bytes | None, path: str
) -> None:
    assert classify(content_type, destination, head, path) in (None, "photo", "video", "audio")


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=400))
def test_plain_text_is_seldom_taken_for_media(text: str) -> None:
    kind = classify("text/plain", None, text.encode(), "/")
    signed = text.lstrip().startswith(("#EXTM3U", "<", "GIF8", "ID3", "RIFF", "OggS", "fLaC"))
    boxed = text[4:8] in ("ftyp", "styp", "moof", "sidx", "moov", "emsg", "prft")
    assert kind is None or signed or boxed
