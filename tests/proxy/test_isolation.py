"""An error injected in any part of ours: logged and counted, and no body is lost for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
from wsproto.events import BytesMessage

from mitmthrottle.proxy.observer import Observer
from mitmthrottle.proxy.record import BodySnapshot

from .playbook import wire
from .test_http_stream import BODY, GET, HEAD_20K, SLOW, with_effect
from .test_websocket import Talk, content

# module, class, function: each raises the first time that it is called while a response is made,
# paced, changed and ended.
PARTS = [
    ("proxy.engine", "Engine", "concerns"),
    ("proxy.engine", "Engine", "decide"),
    ("proxy.engine", "Engine", "response_body"),
    ("proxy.engine", "Engine", "refuses"),
    ("proxy.engine", "Engine", "unpaced"),
    ("proxy.connections", "Connections", "reader_under"),
    ("proxy.connections", "Connections", "unsent_bytes"),
    ("proxy.reports", "Reports", "decided"),
    ("proxy.reports", "Reports", "began"),
    ("proxy.mark", "Marks", "begun"),
    ("proxy.mark", "Marks", "ended"),
    ("proxy.observer", "Observers", "began"),
    ("proxy.observer", "Observers", "ended"),
    ("proxy.wake", "Waker", "at"),
    ("proxy.wake", "Waker", "close"),
    ("proxy.meter", "Meter", "passed"),
    ("proxy.bodies.body", "Body", "begin"),
    ("proxy.bodies.body", "Body", "follow"),
    ("proxy.bodies.body", "Body", "snapshot"),
    ("proxy.bodies.body", "Body", "record"),
    ("proxy.bodies.body", "Body", "_next_item"),
    ("proxy.bodies.body", "Body", "_may_send"),
    ("proxy.bodies.body", "Body", "_take_hold"),
    ("proxy.bodies.body", "Body", "_withdraw"),
    ("proxy.bodies.body", "Body", "_let_reader_go"),
    ("proxy.bodies.starts", "StartLimits", "join"),
    ("policy.plan", "Plan", "in_force"),
    ("pacing.budgets", "Budget", "enqueue"),
    ("pacing.budgets", "Budget", "change"),
    ("pacing.pace", "Pace", "piece_bytes"),
    ("pacing.schedule", "Schedule", "submit"),
    ("pacing.schedule", "Schedule", "withdraw"),
    ("pacing.timeline", "Timeline", "room_bytes"),
]


class ToldOfBeginnings(Observer):
    """Where nobody wants to be told, nothing is made to be told."""

    def began(self, body: BodySnapshot) -> None:
        pass


def raising_once(monkeypatch: pytest.MonkeyPatch, module: str, owner: str, name: str) -> list[str]:
    """What was raised, once it was."""
    kind = getattr(importlib.import_module(f"mitmthrottle.{module}"), owner)
    real: Callable[..., object] = getattr(kind, name)
    raised: list[str] = []

    def once(*args: object, **named: object) -> object:
        if not raised:
            raised.append(name)
            raise ZeroDivisionError(f"injected in {name}")
        return real(*args, **named)

    monkeypatch.setattr(kind, name, once)
    return raised


@pytest.mark.parametrize(("module", "owner", "name"), PARTS, ids=lambda part: str(part))
def test_a_response_comes_whole_and_the_next_is_paced(
    monkeypatch: pytest.MonkeyPatch, module: str, owner: str, name: str
) -> None:
    effect = "requests: 100 / s, rate: 8 kB/s, stall: {after: 19 kB, for: 1 s}"
    if name == "refuses":
        effect += ", quota: {free: 1 kB}"
    with wire(with_effect(effect)) as w:
        w.addon.observe(ToldOfBeginnings())
        raised = raising_once(monkeypatch, module, owner, name)
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:10000])
        w.pass_time(0.3)
        w.engine.change_policy(_changed(effect))
        w.respond(BODY[10000:])
        w.pass_time(12.0)
        assert w.body() == BODY
        w.pass_time(10.0)  # a timer that nobody stopped runs out
        assert w.nothing_left()
        if raised:
            faults = sum(w.addon.observers.faults.values())
            assert w.engine.reports.counts["failed"] + faults >= 1
        before = len(w.received())
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(1.0)
        assert len(w.received()) - before < 10_500
        w.pass_time(4.0)
        assert w.received().endswith(BODY)


def _changed(effect: str):  # type: ignore[no-untyped-def]  # of a private parser
    from mitmthrottle.policy import parse_policy

    return parse_policy(with_effect(effect.replace("8 kB/s", "9 kB/s")), "policy.yaml")


@pytest.mark.parametrize(
    ("module", "owner", "name"),
    [part for part in PARTS if part[0].startswith(("proxy.bodies", "pacing", "proxy.wake"))],
    ids=lambda part: str(part),
)
def test_messages_of_a_websocket_come_whole(
    monkeypatch: pytest.MonkeyPatch, module: str, owner: str, name: str
) -> None:
    with wire(SLOW.replace("content: photo", "content: websocket")) as w:
        raising_once(monkeypatch, module, owner, name)
        talk = Talk(w)
        talk.from_server(BytesMessage(BODY))
        w.pass_time(12.0)
        assert content(talk.at_client()) == BODY
