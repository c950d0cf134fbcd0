"""What two connections have carried, compared: HTTP/2 stream by stream, all else byte by byte.

Rule: the order of the streams among each other is nobody's promise (it depends on which task came
first at the same moment); the frames of each stream, and of the connection itself, are.
"""

from __future__ import annotations

from collections.abc import Sequence

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    HeadersFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9


def differences(ours: Sequence[bytes], bare: Sequence[bytes]) -> str:
    """Where they differ, in words; nothing where they do not."""
    one, other = b"".join(ours), b"".join(bare)
    if one == other:
        return ""
    streams, others = _streams(one), _streams(other)
    if streams is None or others is None:
        at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), -1)
        return f"at byte {at}: {one[at : at + 40]!r} where bare has {other[at : at + 40]!r}"
    for stream_id in sorted({*streams, *others}):
        here, there = streams.get(stream_id, []), others.get(stream_id, [])
        if here != there:
            at = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), -1)
            at = min(len(here), len(there)) if at < 0 else at
            said = (here[at : at + 1], there[at : at + 1])
            return f"stream {stream_id}: {str(said[0])[:90]} where bare has {str(said[1])[:90]}"
    return ""


def _streams(data: bytes) -> dict[int, list[str]] | None:
    """What each stream has carried; None if this is not HTTP/2."""
    start = data.find(PREFACE)
    if start >= 0:
        data = data[start + len(PREFACE) :]
    elif data[:4].isalpha():  # the answer to a CONNECT, perhaps
        start = data.find(b"\r\n\r\n")
        data = data[start + 4 :]
    found: dict[int, list[str]] = {}
    decoder = hpack.Decoder()
    windows: dict[int, int] = {}
    while len(data) >= FRAME_HEADER_BYTES:
        try:
            frame, length = Frame.parse_frame_header(memoryview(data[:FRAME_HEADER_BYTES]))
            frame.parse_body(memoryview(data[FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + length]))
        except Exception:
            return None
        data = data[FRAME_HEADER_BYTES + length :]
        if type(frame) is ExtensionFrame:
            return None
        said = found.setdefault(frame.stream_id, [])
        if isinstance(frame, (HeadersFrame, ContinuationFrame)):
            said.append(f"headers {decoder.decode(frame.data)} {sorted(frame.flags)}")
        elif isinstance(frame, DataFrame):
            said.append(f"data {len(frame.data)} {hash(frame.data)} {sorted(frame.flags)}")
        elif isinstance(frame, WindowUpdateFrame):
            windows[frame.stream_id] = windows.get(frame.stream_id, 0) + frame.window_increment
        else:
            said.append(str(frame))
    for stream_id, size in windows.items():
        found.setdefault(stream_id, []).append(f"windows opened by {size}")
    return found
