"""What the first bytes of a body say: the magic numbers of photos, videos and audio.

The one rule: a signature must be specific enough not to be met by text. Where a container may
hold sound or pictures (MP4, Matroska, Ogg), it is video unless its first bytes say audio.
`bytes_wanted` says how many of them it takes, so that nobody decides on a piece of a signature.
"""

from __future__ import annotations

from typing import Literal

Media = Literal["photo", "video", "audio"]

FIRST_BYTES = 512  # enough for all of this
_CONTROLS = frozenset(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1B} | {0x7F}
_LONGEST_SIGNATURE = 12
_TS_PACKET_BYTES = 188
_PHOTO_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
_AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
_BOXES = {b"ftyp", b"styp", b"moof", b"sidx", b"moov", b"emsg", b"prft"}
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_UTF8_MARK = b"\xef\xbb\xbf"
_PREFIXES: tuple[tuple[bytes, Media | None], ...] = (
    (b"\xff\xd8\xff", "photo"),  # JPEG
    (b"\x89PNG\r\n\x1a\n", "photo"),
    (b"GIF87a", "photo"),
    (b"GIF89a", "photo"),
    (b"II*\x00", "photo"),  # TIFF
    (b"MM\x00*", "photo"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "photo"),
    (b"\xff\xfe", None),  # byte order marks: what follows is text
    (b"\xfe\xff", None),
    (b"\xff\x0a", "photo"),  # JPEG XL, bare codestream
    (b"\x00\x00\x01\x00", None),  # an icon is no photo
    (b"\x1aE\xdf\xa3", "video"),  # WebM, Matroska
    (b"FLV\x01", "video"),
    (b"\x00\x00\x01\xba", "video"),  # MPEG program stream
    (b"\x00\x00\x01\xb3", "video"),
    (b"#EXTM3U", "video"),  # HLS
    (b"ID3", "audio"),
    (b"fLaC", "audio"),
    (b"%PDF-", None),
    (b"PK\x03\x04", None),
    (b"\x1f\x8b\x08", None),
    (b"wOF2", None),
    (b"wOFF", None),
)


def kind_of_bytes(first_bytes: bytes) -> tuple[bool, Media | None]:
    """(True, kind or None) when the bytes are known, (False, None) when they say nothing."""
    for prefix, media in _PREFIXES:
        if first_bytes.startswith(prefix):
            return True, media
    found = (
        _riff(first_bytes)
        or _iso_media(first_bytes)
        or _ogg(first_bytes)
        or _frames(first_bytes)
        or _manifest(first_bytes)
    )
    if found is None and _is_bmp(first_bytes):
        found = "photo"
    return found is not None, found


def bytes_wanted(first_bytes: bytes) -> int:
    """How many first bytes it takes to tell, as far as those that are here say."""
    if any(first_bytes.startswith(prefix) for prefix, _ in _PREFIXES):
        return len(first_bytes)
    if first_bytes.startswith(b"OggS"):
        return 128
    if first_bytes.startswith(b"G") and first_bytes[1:4] != b"IF8":
        return 2 * _TS_PACKET_BYTES + 1
    if first_bytes.startswith(b"BM"):
        return 18
    text = first_bytes.removeprefix(_UTF8_MARK).lstrip()
    if not text or (text.startswith(b"<") and b"<MPD" not in text):
        return FIRST_BYTES
    return _LONGEST_SIGNATURE + len(first_bytes) - len(text)


def looks_like_text(first_bytes: bytes) -> bool:
    """UTF-8 without control characters, in the first 64 bytes and at least four of them."""
    start = first_bytes[:64]
    if len(start) < 4 or not _CONTROLS.isdisjoint(start):
        return False
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # the last character may be cut in two; a text has more than halves of characters
        return error.reason == "unexpected end of data" and error.start >= 4
    return True


def _riff(first_bytes: bytes) -> Media | None:
    if first_bytes[:4] != b"RIFF":
        return None
    forms: dict[bytes, Media] = {b"WEBP": "photo", b"WAVE": "audio", b"AVI ": "video"}
    return forms.get(first_bytes[8:12])


def _iso_media(first_bytes: bytes) -> Media | None:
    """MP4, QuickTime, HEIC, AVIF, and the fragments that DASH and HLS cut MP4 into."""
    if first_bytes[4:8] not in _BOXES:
        return None
    if first_bytes[4:8] == b"ftyp" and first_bytes[8:12] in _PHOTO_BRANDS:
        return "photo"
    return "audio" if first_bytes[8:12] in _AUDIO_BRANDS else "video"


def _ogg(first_bytes: bytes) -> Media | None:
    if first_bytes[:4] != b"OggS":
        return None
    return (
        "video"
        if b"\x80theora" in first_bytes[:128] or b"BBCD\x00" in first_bytes[:128]
        else "audio"
    )


def _frames(first_bytes: bytes) -> Media | None:
    """Streams without a header: MPEG-TS packets, AAC (ADTS) and MPEG audio frames."""
    if first_bytes[:1] == b"G" and len(first_bytes) > _TS_PACKET_BYTES:
        ticks = first_bytes[::_TS_PACKET_BYTES][:5]
        return "video" if ticks == b"G" * len(ticks) else None
    if len(first_bytes) < 4 or first_bytes[0] != 0xFF or first_bytes[1] & 0xE0 != 0xE0:
        return None
    layer, bitrate, sampling = (
        (first_bytes[1] >> 1) & 3,
        first_bytes[2] >> 4,
        (first_bytes[2] >> 2) & 3,
    )
    if layer == 0:  # ADTS: sync of twelve bits, a sampling frequency that exists
        return (
            "audio" if first_bytes[1] & 0xF6 == 0xF0 and (first_bytes[2] >> 2) & 15 < 13 else None
        )
    version_exists = (first_bytes[1] >> 3) & 3 != 1
    return "audio" if version_exists and bitrate not in (0, 15) and sampling != 3 else None


def _manifest(first_bytes: bytes) -> Media | None:
    """HLS and DASH manifests that begin with a byte order mark, white space or a comment."""
    text = first_bytes.removeprefix(_UTF8_MARK).lstrip()
    if text.startswith(b"#EXTM3U"):
        return "video"
    return "video" if text.startswith(b"<") and b"<MPD" in text[:1024] else None


def _is_bmp(first_bytes: bytes) -> bool:
    if first_bytes[:2] != b"BM" or len(first_bytes) < 18 or first_bytes[6:10] != bytes(4):
        return False
    return int.from_bytes(first_bytes[14:18], "little") in _BMP_HEADERS
