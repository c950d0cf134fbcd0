"""All that the simulator knows of the core's inside, in one place.

Rule: everything else here uses what a user of the proxy can see.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mitmproxy.proxy import layer, server
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http._http2 import Http2Connection

from mitmthrottle.policy import Policy
from mitmthrottle.proxy import guard
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.bodies.body import Body
from mitmthrottle.proxy.flow_control import PacedHttp2Connection
from mitmthrottle.proxy.observer import EndedBody, Observer
from mitmthrottle.proxy.record import BodySnapshot
from mitmthrottle.proxy.wake import Waker

_differences = functools.cache(guard.differences)


@contextmanager
def known_mitmproxy() -> Iterator[None]:
    """Reading mitmproxy's source takes 15 ms, and it does not change."""
    read, guard.differences = guard.differences, _differences
    try:
        yield
    finally:
        guard.differences = read


@dataclass
class Ended:
    """What was told of a body at its end."""

    kind: str
    direction: str
    flow_id: str
    path: str
    port: int
    rule: str | None
    sent_bytes: int
    outcome: str
    waited_s: float
    duration_s: float
    at: float
    passing: bool


@dataclass
class Begun:
    kind: str
    direction: str
    flow_id: str
    client_id: str
    path: str
    port: int
    rule: str | None
    at: float
    body: weakref.ref[object]


class Seen(Observer):
    """Keeps what is told, as a log would."""

    wants_unmatched = True

    def __init__(self, now: Any, throttle: Throttle) -> None:
        self.begun: list[Begun] = []
        self.ends: list[Ended] = []
        self.failures: list[str] = []
        self._now = now
        self._throttle = throttle

    def _owner(self, told: BodySnapshot) -> Body:
        """Whom that is a snapshot of."""
        assert self._throttle.engine is not None
        (body,) = (
            each
            for each in self._throttle.engine.active()
            if (each.flow_id, each.kind, each.direction) == told.key
        )
        return body

    def began(self, body: BodySnapshot) -> None:
        self.begun.append(
            Begun(
                body.kind,
                body.direction,
                body.flow_id,
                body.client_id,
                body.exchange.path,
                body.exchange.port,
                body.rule.name if body.rule else None,
                self._now(),
                weakref.ref(self._owner(body)),
            )
        )

    def ended(self, record: EndedBody) -> None:
        self.ends.append(
            Ended(
                record.kind,
                record.direction,
                record.flow_id,
                record.exchange.path,
                record.exchange.port,
                record.rule.name if record.rule else None,
                record.sent_bytes,
                record.outcome,
                record.waited_s,
                record.duration_s,
                self._now(),
                type(record).__name__ == "Unpaced",
            )
        )

    def failed(self, what: str) -> None:
        self.failures.append(what)


def put_policy(throttle: Throttle, policy: Policy) -> None:
    """As if the policy's file had changed to that."""
    throttle.control.policy = policy
    throttle._use(throttle.control.effective())


def take_out(throttle: Throttle) -> None:
    """Whatever has become of it: mitmproxy is as it was."""
    if throttle._patch is not None:
        throttle._patch.remove()
        throttle._patch = None


def tell_all(throttle: Throttle) -> None:
    """What waits to be told is told now."""
    throttle.observers.catch_up()


def effective(throttle: Throttle) -> Policy | None:
    return throttle.engine.policy if throttle.engine is not None else None


def policy_started(throttle: Throttle) -> float:
    """Seconds of the loop's time."""
    engine = throttle.engine
    return engine.policy_started + engine.clock._start if engine is not None else 0.0


def leftovers(throttle: Throttle) -> list[str]:
    """What is still kept of bodies; to be called when all are gone."""
    engine = throttle.engine
    if engine is None:
        return []
    found = [f"a body: {body!r}" for body in engine.active()]
    if engine.paced_bodies:
        found.append(f"{engine.paced_bodies} bodies are counted as under way")
    if kept := engine.reports.passing:
        found.append(f"reports.passing keeps {len(kept)}")
    if len(engine.clock):
        found.append(f"{len(engine.clock)} timers of ended bodies")
    for key, limiter in engine.starts._limiters.items():
        if waiting := len(limiter):
            found.append(f"{waiting} wait in the line {key}")
    for key, budget in engine.shared._budgets.items():
        if budget.members:
            found.append(f"the budget {key} has {budget.members} members")
        if budget._held:
            found.append(f"the budget {key} holds {budget._held} bytes")
        waiting = sum(1 for *_, claim in budget._queue if not claim.withdrawn)
        if waiting:
            found.append(f"{waiting} claims wait in the budget {key}")
    return found


def _http_layers(top: layer.Layer) -> Iterator[http.HttpLayer]:
    seen: set[int] = set()
    todo: list[object] = [*top.context.layers]
    while todo:
        found = todo.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, http.HttpLayer):
            yield found
            todo += [*found.streams.values(), *found.connections.values()]
        if isinstance(found, http.HttpStream):
            todo += found.context.layers
        todo += [getattr(found, name, None) for name in ("layer", "child_layer")]


def left_in(handler: server.ConnectionHandler) -> list[str]:
    """What a connection keeps of streams that have ended, while it goes on."""
    found: list[str] = []
    for http_layer in _http_layers(handler.layer):
        wakers = [each for each in http_layer.command_sources if isinstance(each, Waker)]
        if wakers:
            found.append(f"{len(wakers)} ways to ended streams in command_sources")
        for connection, protocol in http_layer.connections.items():
            below: object = protocol
            while below is not None and not isinstance(below, Http2Connection):
                below = getattr(below, "child_layer", None)
            if isinstance(below, Http2Connection) and (debt := owed(below)):
                side = "client" if connection is handler.client else "origin"
                found.append(f"{debt} B of window are never given back to the {side}'s connection")
    return found


def owed(connection: Http2Connection) -> int:
    """Bytes that the connection's window lacks although nobody holds them."""
    manager = connection.h2_conn._inbound_flow_control_window_manager
    put_off = (
        connection._unacknowledged_bytes if isinstance(connection, PacedHttp2Connection) else 0
    )
    missing = manager.max_window_size - manager.current_window_size - manager._bytes_processed
    return int(missing - put_off)
