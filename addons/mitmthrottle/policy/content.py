"""What a response is: photo, video, audio, or none of these.

The one rule: the response's Content-Type decides. Only where that says nothing do, in this
order, Sec-Fetch-Dest, the body's first bytes and the path's extension. Several ranges in one
response (multipart/byteranges) are what their first part says that it is. SVG and icons are no
photos; HLS and DASH manifests and segments are video, whatever tree their type is filed under.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from mitmthrottle.policy.sniff import kind_of_bytes, looks_like_text

Kind = Literal["photo", "video", "audio", "websocket"]
KINDS: tuple[Kind, ...] = ("photo", "video", "audio", "websocket")

# Types that servers send when they do not know: the contract's list, with its usual misspellings.
SAYS_NOTHING = frozenset(
    {
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "application/binary",
        "application/unknown",
        "application/x-unknown",
        "unknown/unknown",
        "text/plain",
        "*/*",
    }
)
# Says how the body is cut up; each part has a Content-Type of its own (RFC 9110, 14.6).
BYTE_RANGES = "multipart/byteranges"
# A part's headers are a hundred bytes or so. Who needs more than this is not waited for.
PART_HEAD_BYTES = 512
_PART_TYPE = re.compile(rb"^content-type:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)

_NO_PHOTOS = frozenset(
    {"image/svg+xml", "image/svg", "image/x-icon", "image/vnd.microsoft.icon", "image/ico"}
)
_VIDEO = frozenset(
    {
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "application/mpegurl",
        "audio/mpegurl",
        "audio/x-mpegurl",
        "application/dash+xml",
        "application/vnd.ms-sstr+xml",
        "application/f4m+xml",
        "application/vnd.yt-ump",
        "application/mp4",
    }
)
_DESTINATIONS: dict[str, Kind] = {"image": "photo", "video": "video", "audio": "audio"}
_PHOTO_NAMES = "jpg jpeg jpe jfif png gif webp avif heic heif bmp tif tiff jxl"
_VIDEO_NAMES = "mp4 m4v m4s mov webm mkv avi flv f4v mpg mpeg ogv 3gp 3g2 wmv ts m2ts m3u8 mpd"
_AUDIO_NAMES = "mp3 m4a aac ogg oga opus wav flac weba wma aif aiff mid"
_EXTENSIONS: dict[str, Kind] = {
    **dict.fromkeys(_PHOTO_NAMES.split(), "photo"),
    **dict.fromkeys(_VIDEO_NAMES.split(), "video"),
    **dict.fromkeys(_AUDIO_NAMES.split(), "audio"),
}


@lru_cache(maxsize=1024)
def mime_type(content_type: str | None) -> str:
    """The bare type of a Content-Type header: `Image/JPEG; q=1` -> `image/jpeg`."""
    return (content_type or "").split(";", 1)[0].split(",", 1)[0].strip().lower()


def needs_first_bytes(
    content_type: str | None, sec_fetch_dest: str | None, head: bytes | None = None
) -> bool:
    """Whether only the body (and after it the path) can tell what the response is.

    `head` is what has been seen of it: of several ranges, more may be needed than came at first.
    """
    mime = mime_type(content_type)
    if mime == BYTE_RANGES:
        return head is None or _part_head(head) is None
    return head is None and mime in SAYS_NOTHING and _destination(sec_fetch_dest) is None


@lru_cache(maxsize=1024)
def kind_by_type(content_type: str | None) -> Kind | Literal["unknown"] | None:
    """The kind that a Content-Type header tells by itself, whatever else is known."""
    mime = mime_type(content_type)
    return "unknown" if mime == BYTE_RANGES or mime in SAYS_NOTHING else kind_of_type(mime)


def type_of_part(content_type: str | None, head: bytes | None) -> str | None:
    """The bare type that the first of several ranges declares; None for any other response, and
    where the part's headers are not (all) seen or name none."""
    if head is None or mime_type(content_type) != BYTE_RANGES:
        return None
    found = _PART_TYPE.search(_part_head(head) or b"")
    return mime_type(found[1].decode("latin-1")) if found else None


def classify(
    content_type: str | None, sec_fetch_dest: str | None, head: bytes | None, path: str
) -> Kind | None:
    """The kind, or None for anything else.

    `head` is the body's first bytes (512 are enough; b"" for an empty body). With head None
    (not yet seen) the path is asked at once: a caller who can wait asks `needs_first_bytes`.
    """
    if mime_type(content_type) == BYTE_RANGES:
        told = kind_by_type(type_of_part(content_type, head))
        head = _after_part_head(head)
    else:
        told = kind_by_type(content_type)
    if told != "unknown":
        return told
    wanted = _destination(sec_fetch_dest)
    if wanted is not None:
        return wanted
    if head:
        known, kind = kind_of_bytes(head)
        if known:
            return kind
        if looks_like_text(head):  # a TypeScript file is no MPEG-TS, whatever its extension
            return None
    return kind_of_path(path)


def kind_of_type(mime: str) -> Kind | None:
    """The kind that a bare MIME type (lower case) stands for."""
    if mime in _VIDEO:
        return "video"
    tree, _, _ = mime.partition("/")
    if tree == "image":
        return None if mime in _NO_PHOTOS else "photo"
    if tree == "video":
        return "video"
    return "audio" if tree == "audio" else None


def kind_of_path(path: str) -> Kind | None:
    """The kind that a path's extension stands for; query and fragment do not count."""
    if "." not in path:
        return None
    name = path.split("?", 1)[0].split("#", 1)[0].rsplit("/", 1)[-1]
    _, dot, extension = name.rpartition(".")
    return _EXTENSIONS.get(extension.lower()) if dot else None


def _destination(sec_fetch_dest: str | None) -> Kind | None:
    return _DESTINATIONS.get(sec_fetch_dest.strip().lower()) if sec_fetch_dest else None


def _part_head(head: bytes) -> bytes | None:
    """The headers of the first part, behind its boundary; None while they are not all there, empty
    where they never will be."""
    block, end, _ = head.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if end:
        return block
    return b"" if not head or len(head) >= PART_HEAD_BYTES else None


def _after_part_head(head: bytes | None) -> bytes:
    """The first bytes of the first part itself; none where its headers are not all there."""
    return (head or b"").lstrip(b"\r\n").partition(b"\r\n\r\n")[2]
