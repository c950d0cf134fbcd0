"""The strip: what was to be seen at fixed times."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import CDPSession

from mitmthrottle.compare.facts import Frame
from mitmthrottle.compare.film import MAX_PICTURE_BYTES, MAX_SLOTS, Camera, interval_s, strip


def test_each_slot_shows_the_last_picture_before_it_and_each_picture_is_there_once() -> None:
    text, photo = Frame(0.9, b"text"), Frame(2.0, b"photo")
    shown = strip([text, Frame(1.5, b"text"), photo], 1.0, 6)
    assert [(each.slot, each.slots, each.frame and each.frame.jpeg) for each in shown] == [
        (0, 1, None),
        (1, 1, b"text"),
        (2, 4, b"photo"),
    ]


def test_a_picture_that_is_too_large_is_left_out() -> None:
    large = Frame(0.5, b"x" * (MAX_PICTURE_BYTES + 1))
    (only,) = strip([Frame(0.0, b"text"), large], 1.0, 3)
    assert only.frame == Frame(0.0, b"text")


@given(st.floats(0.01, 7000))
def test_the_interval_keeps_the_strip_short(length_s: float) -> None:
    assert length_s / interval_s(length_s) <= MAX_SLOTS


@given(st.lists(st.tuples(st.floats(0, 30), st.binary(max_size=3)), max_size=20))
def test_the_slots_add_up(frames: list[tuple[float, bytes]]) -> None:
    shown = strip([Frame(*frame) for frame in sorted(frames)], 1.0, 12)
    assert sum(each.slots for each in shown) == 12
    assert [each.slot for each in shown] == [
        sum(each.slots for each in shown[:n]) for n in range(len(shown))
    ]


class FakeSession:
    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.heard: Any = None

    def on(self, _name: str, handler: Any) -> None:
        self.heard = handler

    async def send(self, name: str, options: dict[str, Any]) -> None:
        self.sent.append((name, options))


def test_the_camera_keeps_the_last_picture_of_each_span_and_acknowledges_all() -> None:
    async def go() -> None:
        session = FakeSession()
        camera = await Camera.start(cast(CDPSession, session), 60.0, 320, 200)
        for number, (at, data) in enumerate(
            [(99.98, b"empty"), (100.01, b"a"), (100.02, b"b"), (100.31, b"c")]
        ):
            encoded = base64.b64encode(data).decode()
            session.heard({"metadata": {"timestamp": at}, "data": encoded, "sessionId": number})
        await asyncio.sleep(0)
        acknowledged = [o["sessionId"] for n, o in session.sent if n == "Page.screencastFrameAck"]
        assert acknowledged == [0, 1, 2, 3]
        frames = camera.frames(100.0)
        assert [frame.jpeg for frame in frames] == [b"b", b"c"]
        assert [frame.at_s for frame in frames] == pytest.approx([0.02, 0.31])

    asyncio.run(go())
