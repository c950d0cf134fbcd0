"""A wake-up that waits for its turn at the connection, while something else ends its stream."""

from __future__ import annotations

import asyncio

import pytest
from mitmproxy.proxy import events

from mitmthrottle.proxy.bodies.body import Body
from mitmthrottle.proxy.mitm.wake import Together, Waker

from .playbook import Wire, wire
from .test_http_stream import BODY, GET, HEAD_20K, SLOW


def held_up(w: Wire) -> Waker:
    """The waker of a response that is under way."""
    w.request(GET)
    w.respond(HEAD_20K)
    w.respond(BODY)
    (held,) = w.engine.active()
    assert held.wakeup is not None
    return held.wakeup


@pytest.mark.parametrize("together", [False, True])
def test_the_stream_ends_before_its_wake_up_comes(together: bool) -> None:
    with wire(SLOW) as w:
        waker = held_up(w)
        (held,) = w.engine.active()
        (parent,) = [upper for upper, _ in waker.route]

        async def after_another(event: events.Event) -> None:
            held.close("client-gone")
            w.feed(event)

        w.server_event = after_another  # type: ignore[method-assign]  # as mitmproxy's lock does
        asyncio.run((Together(parent, [waker]) if together else waker).wake())
        assert waker not in parent.command_sources


def test_of_two_wake_ups_at_once_one_follows_the_other() -> None:
    with wire(SLOW) as w:
        waker = held_up(w)
        fed = []

        async def slowly(event: events.Event) -> None:
            await asyncio.sleep(0)
            w.feed(event)
            fed.append(event)

        async def both() -> None:
            await asyncio.gather(waker.wake(), waker.wake())

        w.server_event = slowly  # type: ignore[method-assign]  # as above
        asyncio.run(both())
        assert len(fed) == 2


def test_the_others_of_a_connection_are_woken_though_the_first_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with wire(SLOW) as w:
        waker = held_up(w)
        (parent,) = [upper for upper, _ in waker.route]
        gone = Waker(waker.route[-1][1], w, w.clock)
        gone.close()
        woken: list[Body] = []
        (held,) = w.engine.active()
        monkeypatch.setattr(Body, "next_item", lambda body: woken.append(body))
        asyncio.run(Together(parent, [gone, waker]).wake())
        assert woken == [held]
