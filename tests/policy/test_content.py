"""What counts as photo, video and audio, and what has to be waited for."""

from __future__ import annotations

import gzip
import sys
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.policy import (
    FIRST_BYTES,
    Decider,
    Exchange,
    classify,
    needs_first_bytes,
    needs_more,
    parse_policy,
)
from mitmthrottle.policy.detect.coding import decoded_start
from mitmthrottle.policy.detect.content import mime_type, type_of_part
from mitmthrottle.policy.facts import kind_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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
    assert not head or not needs_first_bytes(RANGES, None, head)
    assert not needs_more(head, True, RANGES)
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
            "a.example",
            content_type=RANGES,
            status=206,
            size=900,
            first_bytes=head,
            complete=complete,
        )
        decision = decider.decide(exchange)
        return decision.needs_first_bytes, decision.rule.name if decision.rule else None

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


# -- content codings

MANIFEST = b"#EXTM3U\n#EXT-X-VERSION:3\n" + b"#EXTINF:6,\nsegment.ts\n" * 40
CODED = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "compress": lambda data: b"\x1f\x9d\x90" + data[::-1],
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    "GZIP , identity": gzip.compress,
}
SILENT = [None, "application/octet-stream", "text/plain"]


@pytest.mark.parametrize("content_type", SILENT)
@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("path", ["/live.m3u8", "/live.mpd", "/seg-1.m4s"])
def test_a_declared_coding_s_own_bytes_say_nothing(
    coding: str, content_type: str | None, path: str
) -> None:
    plain = {"/live.m3u8": MANIFEST, "/live.mpd": b"<?xml version='1.0'?><MPD>" + bytes(99),
             "/seg-1.m4s": b"\x00\x00\x00\x18stypmsdh" + bytes(600)}[path]  # fmt: skip
    head = CODED[coding](plain)[:FIRST_BYTES]
    assert classify(content_type, None, head, path, coding) == "video"
    exchange = Exchange(
        "a", path, content_type=content_type, first_bytes=head, content_encoding=coding
    )
    assert kind_of(exchange) == "video"


@pytest.mark.parametrize("coding", [name for name in CODED if name != "compress"])
def test_behind_a_coding_the_first_bytes_tell_as_ever(coding: str) -> None:
    for plain, path, kind in (
        (MANIFEST, "/playlist?id=1", "video"),
        (JPEG + bytes(600), "/x", "photo"),
        (b"import { x } from './y'\n" * 30, "/main.ts", None),
        (b"%PDF-1.7" + bytes(600), "/a.jpg", None),
    ):
        coded = CODED[coding](plain)
        assert classify("text/plain", None, coded[:FIRST_BYTES], path, coding) == kind
        assert not needs_more(coded[:FIRST_BYTES], True, None, coding)
    assert needs_more(CODED[coding](MANIFEST)[:3], False, None, coding)


def test_without_a_declared_coding_its_magic_is_knowledge() -> None:
    archive = gzip.compress(MANIFEST)
    assert classify(None, None, archive, "/a.m3u8") is None
    assert classify(None, None, archive, "/a.m3u8", "identity") is None


def test_a_body_that_lies_about_its_coding_is_told_by_its_path() -> None:
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "x", ",".join(["gzip"] * 20)):
        assert classify(None, None, MANIFEST, "/a.jpg", coding) == "photo"
        assert not needs_more(b"nonsense, not a coding of any", False, None, coding)


def test_a_bomb_is_decoded_to_a_thousand_bytes() -> None:
    bomb = gzip.compress(gzip.compress(bytes(2**26)))
    assert len(decoded_start(bomb, "gzip, gzip") or b"") <= 1024


@given(st.binary(max_size=600), st.sampled_from([*CODED, "x, gzip", "", "gzip,,br"]))
def test_anything_may_be_declared(head: bytes, coding: str) -> None:
    assert classify(None, None, head, "/", coding) in (None, "photo", "video", "audio")
    assert needs_more(head, True, None, coding) is False


# -- how many first bytes it takes

WHOLE = [
    JPEG, b"\x89PNG\r\n\x1a\n\x00\x00", b"GIF89a\x01\x00\x01\x00\x00\x00",
    b"RIFF\x10\x00\x00\x00WEBPVP8 ", b"\x00\x00\x00\x1cftypavif", b"\x00\x00\x00\x1cftypM4A ",
    BMP, TS, b"OggS\x00\x02" + bytes(22) + b"\x80theora" + bytes(99), MANIFEST,
    b"  \r\n#EXTM3U\n", b"\xef\xbb\xbf#EXTM3U\n", b"<?xml version='1.0'?>\n<MPD>", MP3, ADTS,
    b"\x1aE\xdf\xa3\x01\x00", b"\x00\x00\x00\x0cJXL \r\n\x87\n",
]  # fmt: skip


@pytest.mark.parametrize("body", WHOLE, ids=lambda body: repr(body[:12]))
def test_nobody_decides_on_a_piece_of_a_signature(body: bytes) -> None:
    kind = classify(None, None, body, "/")
    assert kind is not None
    for size in range(1, len(body)):
        if classify(None, None, body[:size], "/") != kind:
            assert needs_more(body[:size]), size
    assert needs_more(b"")
    assert not any(needs_more(body[:size], True) for size in range(1, len(body)))
    assert not needs_more(body.ljust(FIRST_BYTES, b"\x00"))


def test_a_text_is_not_waited_for_longer_than_the_longest_signature() -> None:
    assert not needs_more(b"good morning")
    assert not needs_more(b'{"a": 1, "b"')
    assert needs_more(b"good")


@given(st.binary(max_size=600))
def test_never_more_than_the_first_bytes(head: bytes) -> None:
    assert not (needs_more(head) and len(head) >= FIRST_BYTES)


def test_the_first_bytes_are_asked_for_before_the_size() -> None:
    decider = Decider(
        parse_policy(
            "version: 1\nname: t\nrules:\n"
            "  - {when: {content: photo, size: '>= 100 KiB'}, then: {rate: 8 kB/s}}\n"
        )
    )
    body = Exchange("a.example", status=200)
    assert decider.decide(body).needs_first_bytes
    photo = body._replace(first_bytes=JPEG, seen=len(JPEG))
    assert (decider.decide(photo).needs_first_bytes, decider.decide(photo).size_step) == (
        False,
        102_400,
    )
    assert decider.decide(photo._replace(seen=102_400)).rule is not None
    text = decider.decide(body._replace(first_bytes=b"good morning", seen=12))
    assert (text.needs_first_bytes, text.size_step, text.rule) == (False, None, None)


def test_who_waits_no_longer_says_so() -> None:
    decider = Decider(
        parse_policy(
            "version: 1\nname: t\nrules:\n  - {when: {content: photo}, then: {rate: 8 kB/s}}\n"
        )
    )
    body = Exchange("a.example", "/a.jpg", status=206, content_type=RANGES, first_bytes=b"\r\n--")
    assert decider.decide(body).needs_first_bytes
    assert decider.decide(body._replace(first_bytes_complete=True)).rule is not None  # by the path


# -- types


@pytest.mark.parametrize(
    ("header", "mime"),
    [
        ("image/jpeg", "image/jpeg"),
        ("  Image/JPEG ;q=1", "image/jpeg"),
        ("image/jpeg ;", "image/jpeg"),
        ("jpg", ""),
        ("null", ""),
        ("*", ""),
        ('"image/jpeg"', ""),
        ("image / jpeg", ""),
        ("image/ jpeg", ""),
        ("image/jpeg/x", ""),
        ("image/", ""),
        ("/jpeg", ""),
        ("im\u00e4ge/jpeg", ""),
        ("*/*", ""),
        ("text/html, image/png", "image/png"),
        ("image/png, jpg", "image/png"),
        ("image/png,*/*", "image/png"),
        ("image/png, ", "image/png"),
        ('text/plain;a=",image/png"', "text/plain"),
        ('text/plain;a="\\",image/gif,", image/png', "image/png"),
        ('text/plain;a="x, image/png', "text/plain"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_last_valid_type_is_the_type(header: str | None, mime: str) -> None:
    assert mime_type(header) == mime


@pytest.mark.parametrize(
    "content_type",
    ["jpg", "null", "*", '"image/jpeg"', "image / jpeg", "application/octetstream",
     "application/force-download", "application/x-download", "application/download",
     "text/vnd.trolltech.linguist", "image/png, application/octet-stream"],
)  # fmt: skip
def test_what_is_no_type_or_says_save_it_says_nothing(content_type: str) -> None:
    assert needs_first_bytes(content_type, None)
    assert classify(content_type, None, None, "/a.mp4") == "video"
    assert classify(content_type, None, JPEG, "/a.mp4") == "photo"


def test_a_segment_that_is_served_as_a_translation_is_a_segment() -> None:
    served_as = "text/vnd.trolltech.linguist"  # what /etc/mime.types makes of .ts
    assert classify(served_as, None, TS, "/seg1.ts") == "video"
    assert classify(served_as, None, bytes(range(200, 256)), "/encrypted.ts") == "video"
    assert classify(served_as, None, b"<?xml version='1.0'?><!DOCTYPE TS><TS>", "/de.ts") is None
    assert classify(served_as, None, "const größe = 'süß'; // ты".encode(), "/a.ts") is None


@pytest.mark.parametrize("text", ["G", "Hallo", "<html>", "ÿ", "\u4f60\u597d", "#EXTM3U"])
@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_what_begins_with_a_byte_order_mark_is_text(text: str, coding: str) -> None:
    assert classify("text/plain", None, ("\ufeff" + text).encode(coding), "/a.mp3") is None


FRAMES = "multipart/x-mixed-replace;boundary=f"


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_the_frames_of_a_camera_are_what_the_first_one_is(line_end: bytes) -> None:
    frame = line_end.join((b"--f", b"Content-Type: image/jpeg", b"Content-Length: 9", b"", JPEG))
    assert needs_first_bytes(FRAMES, None)
    assert classify(FRAMES, None, frame, "/video.cgi") == "photo"
    assert all(needs_more(frame[:size], False, FRAMES) for size in range(1, 40))
    assert not needs_more(frame, False, FRAMES)
    untold = line_end.join((b"--f", b"X: y", b"", JPEG))
    assert classify(FRAMES, None, untold, "/") == "photo"
    assert classify(FRAMES, None, frame.replace(b"image/jpeg", b"text/html"), "/") is None
