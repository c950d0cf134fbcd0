"""What a response is: photo, video, audio, or none of these.

The one rule: the response's Content-Type decides. Only where that says nothing do, in this
order, Sec-Fetch-Dest, the body's first bytes and the path's extension. A body of parts (several
ranges, or the frames of a camera) is what its first part says that it is. Of a body that declares
a content coding the decoded bytes are looked at; where they cannot be had, its bytes say nothing.
SVG and icons are no photos; HLS and DASH manifests and segments are video, whatever tree their
type is filed under.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from mitmthrottle.policy.detect.coding import decoded_start, is_coded
from mitmthrottle.policy.detect.sniff import (
    FIRST_BYTES,
    bytes_wanted,
    kind_of_bytes,
    looks_like_text,
)

Kind = Literal["photo", "video", "audio", "websocket"]
KINDS: tuple[Kind, ...] = ("photo", "video", "audio", "websocket")

# Types that servers send when they do not know, or to have a file saved; and what a server's table
# of extensions makes of a segment of video whose name ends in `.ts`, or of Ogg, which holds both.
SAYS_NOTHING = frozenset(
    {
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "application/binary",
        "application/unknown",
        "application/x-unknown",
        "application/octetstream",
        "application/x-octet-stream",
        "application/x-octetstream",
        "application/x-binary",
        "application/force-download",
        "application/x-force-download",
        "application/download",
        "application/x-download",
        "application/save",
        "application/file",
        "application/x-file",
        "application/stream",
        "application/media",
        "application/null",
        "application/none",
        "content/unknown",
        "file/unknown",
        "octet/stream",
        "application/ogg",
        "text/vnd.trolltech.linguist",
        "application/x-linguist",
        "text/typescript",
        "text/x-typescript",
        "application/typescript",
        "application/x-typescript",
        "unknown/unknown",
        "text/plain",
        "*/*",
    }
)
# What people write for a type, and the name that is registered and sent.
REGISTERED_AS = {
    "image/jpg": "image/jpeg",
    "image/jpe": "image/jpeg",
    "image/jfif": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/tif": "image/tiff",
    "image/x-webp": "image/webp",
    "image/svg": "image/svg+xml",
    "image/ico": "image/vnd.microsoft.icon",
    "image/icon": "image/vnd.microsoft.icon",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/mpeg3": "audio/mpeg",
    "audio/m4a": "audio/mp4",
    "audio/opus-ogg": "audio/ogg",
    "audio/oga": "audio/ogg",
    "video/mpeg4": "video/mp4",
    "video/mp4v": "video/mp4",
    "video/m4v": "video/mp4",
    "video/mov": "video/quicktime",
    "video/qt": "video/quicktime",
    "video/avi": "video/x-msvideo",
    "video/mkv": "video/x-matroska",
    "video/ts": "video/mp2t",
    "video/mpegts": "video/mp2t",
    "video/mpeg2ts": "video/mp2t",
    "video/m4s": "video/iso.segment",
    "video/ogv": "video/ogg",
    "video/flv": "video/x-flv",
    "application/m3u8": "application/vnd.apple.mpegurl",
    "application/hls": "application/vnd.apple.mpegurl",
    "video/m3u8": "application/vnd.apple.mpegurl",
    "application/mpd": "application/dash+xml",
    "application/dash": "application/dash+xml",
    "text/json": "application/json",
    "application/javascript": "text/javascript",
    "application/x-javascript": "text/javascript",
    "application/octetstream": "application/octet-stream",
}
# Say how the body is cut up; each part has a Content-Type of its own (RFC 9110, 14.6; Motion JPEG).
IN_PARTS = frozenset({"multipart/byteranges", "multipart/x-mixed-replace"})
# A part's headers are a hundred bytes or so. Who needs more than this is not waited for.
PART_HEAD_BYTES = 512
LONGEST_TYPE = 1024  # characters of a Content-Type that are looked at
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"[\t\n\r ]*({_TOKEN}/{_TOKEN})[\t\n\r ]*(?:;|$)")
_VALUE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\\?$))*+', re.DOTALL)
_PART_HEAD_END = re.compile(rb"\r?\n\r?\n")
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


def mime_type(content_type: str | None) -> str:
    """The bare type of a Content-Type header: `Image/JPEG; q=1` -> `image/jpeg`.

    Of several, joined by commas, the last that is one (the WHATWG's "extract a MIME type"); empty
    where none is.
    """
    return _mime_type(content_type[:LONGEST_TYPE]) if content_type else ""


@lru_cache(maxsize=1024)
def _mime_type(content_type: str) -> str:
    essence, start = "", 0
    while start <= len(content_type):
        value = _VALUE.match(content_type, start)
        end = value.end() if value else start
        found = _TYPE.match(content_type[start:end])
        if found and found[1] != "*/*":
            essence = found[1].lower()
        start = end + 1
    return essence


def needs_more(
    first_bytes: bytes,
    complete: bool = False,
    content_type: str | None = None,
    content_encoding: str | None = None,
) -> bool:
    """Whether more of a body's first bytes could tell what it is; asked where only they can.

    `first_bytes` is what has been seen of it, `complete` whether that was all. Never true of
    FIRST_BYTES or more. Who waits should not do so for longer than a tenth of a second.
    """
    if complete or len(first_bytes) >= FIRST_BYTES:
        return False
    in_parts = mime_type(content_type) in IN_PARTS
    if is_coded(content_encoding):
        decoded = decoded_start(first_bytes, content_encoding)
        if decoded is None:
            return False  # no byte of it will ever tell
        first_bytes = decoded
    if in_parts:
        of_part = _part_head(first_bytes)
        if of_part is None:
            return True
        found = _PART_TYPE.search(of_part)
        if found and mime_type(found[1].decode("latin-1")) not in SAYS_NOTHING:
            return False
        first_bytes = _after_part_head(first_bytes)
    return len(first_bytes) < bytes_wanted(first_bytes)


def needs_first_bytes(
    content_type: str | None,
    sec_fetch_dest: str | None,
    first_bytes: bytes | None = None,
    content_encoding: str | None = None,
) -> bool:
    """Whether only the body (and after it the path) can tell what the response is.

    `first_bytes` is what has been seen of it: of a body of parts, more may be needed than came at
    first. Of others any first bytes are taken as all there are; how long to collect
    them: `needs_more`.
    """
    mime = mime_type(content_type)
    if mime in IN_PARTS:
        if first_bytes is None:
            return True
        plain = decoded_start(first_bytes, content_encoding)
        return plain is not None and len(first_bytes) < FIRST_BYTES and _part_head(plain) is None
    return first_bytes is None and mime in SAYS_NOTHING and _destination(sec_fetch_dest) is None


def kind_by_type(content_type: str | None) -> Kind | Literal["unknown"] | None:
    """The kind that a Content-Type header tells by itself, whatever else is known."""
    mime = mime_type(content_type)
    return "unknown" if mime in IN_PARTS or mime in SAYS_NOTHING else kind_of_type(mime)


def type_of_part(content_type: str | None, first_bytes: bytes | None) -> str | None:
    """The bare type that the first part of a body declares; None for a body without parts, and
    where the part's headers are not (all) seen or name none. `first_bytes` is decoded."""
    if first_bytes is None or mime_type(content_type) not in IN_PARTS:
        return None
    found = _PART_TYPE.search(_part_head(first_bytes) or b"")
    return mime_type(found[1].decode("latin-1")) if found else None


def classify(
    content_type: str | None,
    sec_fetch_dest: str | None,
    first_bytes: bytes | None,
    path: str,
    content_encoding: str | None = None,
) -> Kind | None:
    """The kind, or None for anything else.

    `first_bytes` is the body's first bytes (512 are enough; b"" for an empty body). With None
    (not yet seen) the path is asked at once: a caller who can wait asks `needs_first_bytes`.
    """
    first_bytes = plain_first_bytes(first_bytes, content_encoding)
    if mime_type(content_type) in IN_PARTS:
        told = kind_by_type(type_of_part(content_type, first_bytes))
        first_bytes = _after_part_head(first_bytes)
    else:
        told = kind_by_type(content_type)
    if told != "unknown":
        return told
    wanted = _destination(sec_fetch_dest)
    if wanted is not None:
        return wanted
    if first_bytes:
        known, kind = kind_of_bytes(first_bytes)
        if known:
            return kind
        if looks_like_text(first_bytes):  # a TypeScript file is no MPEG-TS, whatever its extension
            return None
    return kind_of_path(path)


def plain_first_bytes(first_bytes: bytes | None, content_encoding: str | None) -> bytes | None:
    """The first bytes with any declared content coding taken off; empty where that cannot be."""
    if not first_bytes or not is_coded(content_encoding):
        return first_bytes
    return decoded_start(first_bytes, content_encoding) or b""


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
    return _DESTINATIONS.get(sec_fetch_dest[:16].strip().lower()) if sec_fetch_dest else None


def _part_head(first_bytes: bytes) -> bytes | None:
    """The headers of the first part, behind its boundary; None while they are not all there, empty
    where they never will be."""
    found = _PART_HEAD_END.search(first_bytes, _part_start(first_bytes))
    if found:
        return first_bytes[: found.start()]
    return b"" if len(first_bytes) >= PART_HEAD_BYTES else None


def _after_part_head(first_bytes: bytes | None) -> bytes:
    """The first bytes of the first part itself; none where its headers are not all there."""
    found = _PART_HEAD_END.search(first_bytes or b"", _part_start(first_bytes or b""))
    return (first_bytes or b"")[found.end() :] if found else b""


def _part_start(first_bytes: bytes) -> int:
    return len(first_bytes) - len(first_bytes.lstrip(b"\r\n"))
