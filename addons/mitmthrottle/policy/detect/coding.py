"""The first bytes of a body behind its content coding, as far as they can be had.

The one rule: bounded work, and never an exception: what cannot be decoded says nothing.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable
from functools import lru_cache

import brotli  # type: ignore[import-untyped]  # it has no stubs

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_DECODED_BYTES = 1024  # of a body that may be made to grow a thousandfold
MOST_CODINGS = 4
_NONE = frozenset({"", "identity", "none"})
_SEPARATORS = re.compile(r"[\t ]*,[\t ]*")


def is_coded(content_encoding: str | None) -> bool:
    """Whether a Content-Encoding header declares a coding: the bytes are not the media's own."""
    return content_encoding is not None and bool(_codings(content_encoding[:256]))


def decoded_start(first_bytes: bytes, content_encoding: str | None) -> bytes | None:
    """What the first bytes say once decoded (b"": nothing yet); None if they cannot be decoded."""
    codings = _codings(content_encoding[:256]) if content_encoding else ()
    if len(codings) > MOST_CODINGS:
        return None
    for coding in reversed(codings):
        decode = _DECODERS.get(coding)
        if decode is None:
            return None
        try:
            first_bytes = decode(first_bytes)[:MOST_DECODED_BYTES]
        except (zlib.error, brotli.error, zstd.ZstdError, ValueError):
            return None
    return first_bytes


@lru_cache(maxsize=256)
def _codings(content_encoding: str) -> tuple[str, ...]:
    """In the order in which they were applied."""
    parts = _SEPARATORS.split(content_encoding.strip().lower())
    return tuple(part for part in parts if part not in _NONE)


def _gzip(data: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, MOST_DECODED_BYTES)


def _deflate(data: bytes) -> bytes:
    """With zlib's header, as it should be, or without, as some servers send it."""
    try:
        return zlib.decompressobj().decompress(data, MOST_DECODED_BYTES)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MOST_DECODED_BYTES)


def _brotli(data: bytes) -> bytes:
    return bytes(brotli.Decompressor().process(data, output_buffer_limit=MOST_DECODED_BYTES))


def _zstd(data: bytes) -> bytes:
    return zstd.ZstdDecompressor().decompress(data, MOST_DECODED_BYTES)


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
