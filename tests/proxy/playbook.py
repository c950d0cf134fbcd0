"""A connection without sockets: bytes in, bytes out, a clock that moves when told.

The layers are mitmproxy's own with our stream in them; hooks are answered at once by the addon
under test.  So a test reads like the wire.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

from mitmproxy import connection, http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.test import taddons

from mitmthrottle.pacing import Schedule
from mitmthrottle.policy import parse_policy
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.engine import Engine
from mitmthrottle.proxy.patch import Patch
from mitmthrottle.proxy.wake import Timers, Waker


class FakeClock:
    """The clock's face, moved by the test."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.time = 1000.0
        self.timers = Timers()

    def now(self) -> float:
        return self.time

    def wake_at(self, when: float, waker: Waker) -> None:
        if when < math.inf:
            self.timers.add(when, waker)

    def timer_dropped(self) -> None:
        self.timers.drop()

    def submitted(self) -> None:
        pass

    def soon(self, waker: Waker) -> None:
        step = waker.wake(a_last_time=True)
        with suppress(StopIteration):
            step.send(None)

    def stop(self) -> None:
        pass

    def next_due(self) -> float:
        return min(self.schedule.next_due(), self.timers.next_at())

    def due(self) -> Iterator[Waker]:
        for claim in self.schedule.advance(self.time):
            assert isinstance(claim.owner, Waker)
            yield claim.owner
        yield from self.timers.due(self.time)


class Wire:
    """One client connection and whatever servers it leads to."""

    def __init__(self, tctx: taddons.context, addon: Throttle, clock: FakeClock) -> None:
        self.tctx = tctx
        self.addon = addon
        self.clock = clock
        self.refuse_connections = False
        self.woken = 0
        self.longest_idle_s = 0.0
        self._active_at = clock.time
        self.options = tctx.options
        self.flows: list[http.HTTPFlow] = []
        self.hooks: list[str] = []
        self.hook: Callable[[str, http.HTTPFlow], None] = lambda name, flow: None
        self.sent: dict[connection.Connection, list[tuple[float, bytes]]] = {}
        self.closed: list[connection.Connection] = []
        self.servers: list[connection.Server] = []
        self.client = connection.Client(
            peername=("198.18.0.7", 5000),
            sockname=("127.0.0.1", 8080),
            state=connection.ConnectionState.OPEN,
        )
        ctx = context.Context(self.client, tctx.options)
        self.transports: dict[connection.Connection, object] = {}
        self.timeout_watchdog = SimpleNamespace(timeout=600.0)
        self.layer: layer.Layer = HttpLayer(ctx, HTTPMode.regular)
        tctx.master.addons.get("proxyserver").connections[self.client.id] = self
        self.feed(events.Start())

    async def server_event(self, event: events.Event) -> None:
        self.feed(event)

    @property
    def idle_timeout_s(self) -> float:
        return self.timeout_watchdog.timeout

    @idle_timeout_s.setter
    def idle_timeout_s(self, seconds: float) -> None:
        self.timeout_watchdog.timeout = seconds

    def feed(self, event: events.Event) -> None:
        self.woken += isinstance(event, events.Wakeup)
        self.longest_idle_s = max(self.longest_idle_s, self.clock.time - self._active_at)
        self._active_at = self.clock.time
        todo = [event]
        while todo:
            for command in self.layer.handle_event(todo.pop(0)):
                todo += self._answer(command)

    def _answer(self, command: commands.Command) -> list[events.Event]:
        if isinstance(command, commands.SendData):
            out = self.sent.setdefault(command.connection, [])
            out.append((self.clock.time, bytes(command.data)))
        elif isinstance(command, commands.OpenConnection) and self.refuse_connections:
            command.connection.error = "refused"
            return [events.OpenConnectionCompleted(command, "refused")]
        elif isinstance(command, commands.OpenConnection):
            command.connection.state = connection.ConnectionState.OPEN
            command.connection.peername = ("198.18.0.1", 80)
            command.connection.timestamp_start = self.clock.time
            self.servers.append(command.connection)
            return [events.OpenConnectionCompleted(command, None)]
        elif isinstance(command, commands.CloseConnection):
            self.closed.append(command.connection)
            command.connection.state = connection.ConnectionState.CLOSED
        elif isinstance(command, commands.StartHook):
            (data,) = command.args()
            if isinstance(data, layer.NextLayer):
                data.layer = HttpLayer(data.context, HTTPMode.transparent)
            self.hooks.append(command.name)
            if isinstance(data, http.HTTPFlow):
                if data not in self.flows:
                    self.flows.append(data)
                self.hook(command.name, data)
            if handler := getattr(self.addon, command.name, None):
                handler(data)
            if command.blocking:
                return [events.HookCompleted(command)]
        return []

    # -- what a test says

    def request(self, text: str) -> None:
        self.feed(events.DataReceived(self.client, text.replace("\n", "\r\n").encode()))

    def send(self, data: bytes) -> None:
        self.feed(events.DataReceived(self.client, data))

    def respond(self, data: str | bytes) -> None:
        if isinstance(data, str):
            data = data.replace("\n", "\r\n").encode()
        self.feed(events.DataReceived(self.servers[-1], data))

    def close(self, conn: connection.Connection) -> None:
        conn.state = connection.ConnectionState.CLOSED
        self.feed(events.ConnectionClosed(conn))

    def pass_time(self, seconds: float) -> None:
        end = self.clock.time + seconds
        while (due := self.clock.next_due()) <= end:
            self.clock.time = max(self.clock.time, due)
            for waker in list(self.clock.due()):
                step = waker.wake()
                try:
                    step.send(None)
                except StopIteration:
                    continue
                raise AssertionError("a wake-up that waits")
        self.clock.time = end

    def at_origin(self) -> bytes:
        """All that the last server has got."""
        return b"".join(data for _, data in self.sent.get(self.servers[-1], []))

    def received(self) -> bytes:
        """All that the client has got."""
        return b"".join(data for _, data in self.sent.get(self.client, []))

    def body(self) -> bytes:
        return self.received().partition(b"\r\n\r\n")[2]

    @property
    def engine(self) -> Engine:
        assert self.addon.engine is not None
        return self.addon.engine

    def nothing_left(self) -> bool:
        return (
            not self.engine.active()
            and self.engine.paced_bodies == 0
            and not len(self.clock.timers)
            and self.clock.schedule.next_due() == float("inf")
        )


@contextmanager
def wire(policy: str) -> Iterator[Wire]:
    """A connection under this policy (YAML)."""
    addon = Throttle()
    clock = FakeClock()
    with taddons.context(addon, loadcore=True) as tctx:
        proxyserver = tctx.master.addons.get("proxyserver") or Proxyserver()
        if tctx.master.addons.get("proxyserver") is None:
            tctx.master.addons.add(proxyserver)
        parsed = parse_policy(policy, "policy.yaml")
        addon._path = addon.marks.path = Path("policy.yaml")
        addon._running = True
        addon.control.policy = parsed
        addon.engine = Engine(parsed, proxyserver, clock, addon.observers, addon.marks)
        patch = Patch(addon.engine)
        patch.install()
        try:
            yield Wire(tctx, addon, clock)
        finally:
            patch.remove()
            addon.engine = None
            addon._running = False
