"""One run: the proxy, whoever is around it, and a list of small steps that are done one by one.

Rule: all that is random comes from the seed, and each thing that is drawn has a source of its own;
so a step that is left out changes nothing of the others, and a list of steps can be shrunk.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from mitmproxy import http, options
from mitmproxy.addons import core, next_layer
from mitmproxy.addons.clientplayback import ReplayHandler
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client, Server
from mitmproxy.master import Master
from mitmproxy.proxy import mode_specs
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from pydantic import ValidationError

from mitmthrottle.policy import Policy
from mitmthrottle.proxy.addon import Throttle

from . import probe
from .exchange import Exchange
from .frames import differences
from .invariants import Checker, Fault, rule_number
from .loop import NothingToDo, VirtualLoop, world_of
from .peers_http1 import Http1Client, Http1Origin
from .peers_http2 import Http2Client, Http2Origin
from .peers_relay import RelayClient, RelayOrigin, client_hello
from .transport import ProxyEnd, Socket, connect
from .wiring import Injected, Meddler, Wiring

RELAY_PORT = 10_000  # tunnels lead to that port plus the exchange's number
QUIET_S = 3.0
LONGEST_S = 600.0  # so long may it take until all is over
HOSTS_OF = {
    0: ["a1.test", "a2.test", "a3.test", "d1.test", "p0.test"],
    1: ["b1.test", "b2.test", "b3.test", "p1.test"],
}
NOBODY = {"name": "nobody", "when": {"host": "nobody.test"}, "then": {"rate": "1 Mbit/s"}}

type AnyClient = Http1Client | Http2Client | RelayClient


class Step(Protocol):
    """Something small that happens.  What it is about may not be there (any more)."""

    @property
    def before_start(self) -> bool: ...
    async def do(self, world: World) -> None: ...


@dataclass
class Net:
    """The way to a host, or from a client."""

    latency_s: float = 0.002
    capacity: int = 128 * 1024
    window: int = 65_535  # HTTP/2
    pieces_bytes: int | None = None


@dataclass
class Opened:
    """A client's connection."""

    number: int
    client: AnyClient
    socket: Socket
    end: ProxyEnd
    handler: ProxyConnectionHandler
    net: Net
    kind: str
    exchange: Exchange | None = None
    tunnel: str | None = None
    asked: list[Exchange] = field(default_factory=list)
    reads_slowly: bool = False
    was_slow: bool = False


class Errors(logging.Handler):
    """What is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.crashes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Injected):
            return
        text = record.getMessage()
        if record.exc_info and error is not None:
            where = error.__traceback__
            last = ""
            while where is not None:
                code = where.tb_frame.f_code
                last = f"{code.co_filename.rsplit('/', 1)[-1]}:{where.tb_lineno} {code.co_name}"
                where = where.tb_next
            text += f" ({type(error).__name__}: {error}, {last})"
        self.crashes.append(text)


class World:
    """Everything there is in a run.  `throttled`: with the addon under test."""

    def __init__(self, seed: int, *, throttled: bool = True, keep_wire: bool = False) -> None:
        self.seed = seed
        self.throttled = throttled
        self.keep_wire = keep_wire
        self.wire: dict[str, list[bytes]] = {}
        self.clock_start = 1000.0
        self.options: dict[str, Any] = {"ignore_hosts": [r"^p\d\.test"]}
        self.meddler_first = True
        self.rules: dict[int, dict[str, Any]] = {}
        self.conditions: dict[int, dict[str, Any]] = {}
        self.gone_rules: set[int] = set()
        self.nets: dict[str, Net] = {}
        self.exchanges: dict[int, Exchange] = {}
        self.clients: dict[int, Opened] = {}
        self.origins: list[Http1Origin | Http2Origin | RelayOrigin] = []
        self.stopped_at: float | None = None
        self.suspended: list[tuple[float, float]] = []
        self.policies: list[tuple[float, Policy]] = []  # since when, what was in force
        self.twists: dict[int, list[tuple[str, Any]]] = {}
        self.commands: list[tuple[float, str]] = []
        self.edits: list[tuple[float, int, str]] = []
        self.wall_was_set = False
        self._file: Policy | None = None
        self._effective: Policy | None = None
        self.policy_started = 0.0
        self.errors = Errors()
        self.steps_done = 0
        self.loop: VirtualLoop  # made by `run`
        self.master: Master
        self.throttle: Throttle | None = None
        self.seen: probe.Seen | None = None
        self.proxyserver: Proxyserver
        self.wiring = Wiring()
        self.checker = Checker(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._replays: set[asyncio.Task[None]] = set()
        self._handlers: list[weakref.ref[ProxyConnectionHandler]] = []

    def chance(self, *about: object) -> random.Random:
        """A source of its own for each thing."""
        return random.Random("/".join(map(str, (self.seed, *about))))

    def find(self, path: str) -> Exchange | None:
        try:
            return self.exchanges.get(int(path.rsplit("/", 1)[1]))
        except (ValueError, IndexError):
            return None

    def now(self) -> float:
        return self.loop.time()

    # -- the policy

    def policy(self) -> Policy | None:
        """What the steps have made of it; None where that is no policy."""
        rules: list[dict[str, Any]] = []
        for number, then in sorted(self.rules.items()):
            if then and number not in self.gone_rules:
                when = {"host": HOSTS_OF[number], **self.conditions.get(number, {})}
                rules.append({"name": f"rule {number}", "when": when, "then": then})
        data = {"version": 1, "name": "simulated", "rules": [*rules, NOBODY]}
        try:
            return Policy.model_validate(data)
        except ValidationError:
            return None

    def use_policy(self) -> bool:
        policy = self.policy()
        if policy is None or self.throttle is None or self.stopped_at is not None:
            return policy is not None
        self._file = policy
        probe.put_policy(self.throttle, policy)
        self.policy_changed()
        return True

    def policy_changed(self) -> None:
        """Sees whether something else is in force: the file, without the rules switched off."""
        effective = probe.effective(self.throttle) if self.throttle is not None else None
        if effective is None or self._file is None or effective is self._effective:
            return
        self._effective = effective
        self.policy_started = probe.policy_started(self.throttle) if self.throttle else 0.0
        names = {rule.name for rule in effective.rules}
        rules = tuple(rule for rule in self._file.rules if rule.name in names)
        self.policies.append((self.now(), self._file.model_copy(update={"rules": rules})))
        self.checker.policy_changed()

    # -- start and end

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.set_task_factory(asyncio.eager_task_factory)
        loop.connect = self._connect
        self.master = Master(options.Options(), loop)
        self.proxyserver = Proxyserver()
        self.master.addons.add(core.Core(), self.proxyserver, next_layer.NextLayer(), self.wiring)
        meddler = Meddler(self.find)
        if self.meddler_first:
            self.master.addons.add(meddler)
        if self.throttled:
            self.throttle = Throttle()
            self.master.addons.add(self.throttle)
            self.seen = probe.Seen(self.now, self.throttle)
            self.throttle.observe(self.seen)
        if not self.meddler_first:
            self.master.addons.add(meddler)
        self.master.options.update(**self.options)
        await self.master.running()
        self.use_policy()

    def stop_proxy(self) -> None:
        if self.stopped_at is None:
            self.stopped_at = self.now()
            for exchange in self.exchanges.values():
                if not exchange.is_over:
                    exchange.harm.add("proxy stops")
            task = self.loop.create_task(self.master.done())
            self._tasks.add(task)

    # -- connections

    def open(self, number: int, kind: str, net: Net, address: str, host: str) -> Opened:
        """A client connects.  kind: h1, h2, tunnel1, tunnel2 (to that host)."""
        mode = mode_specs.ProxyMode.parse("regular")
        socket, end, handler = self._accept(f"client {number}", net, address, mode)
        if kind == "h2":
            handler.client.alpn = b"h2"
        elif kind == "tunnel2":
            self.wiring.http2_in_tunnels.add(handler.client.id)
        self._handle(handler)
        tunnel = host if kind.startswith("tunnel") else None
        client: AnyClient
        if kind.endswith("2"):
            client = Http2Client(self.loop, socket, net.window, tunnel)
        else:
            client = Http1Client(self.loop, socket, tunnel)
        opened = Opened(number, client, socket, end, handler, net, kind, tunnel=tunnel)
        self.clients[number] = opened
        return opened

    def relay(self, number: int, exchange: Exchange, net: Net, address: str) -> None:
        """A client connects to be relayed."""
        port = RELAY_PORT + exchange.number
        spec = f"reverse:tcp://{exchange.host}:{port}" if exchange.kind == "tcp" else "regular"
        if exchange.kind in ("relay", "tcp") and exchange.host.startswith("p"):
            hello = client_hello(exchange.host)
            exchange.up.expected = hello + exchange.up.expected
        mode = mode_specs.ProxyMode.parse(spec)
        socket, end, handler = self._accept(f"client {number}", net, address, mode)
        self._handle(handler)
        client = RelayClient(self.loop, socket, exchange, port)
        self.clients[number] = Opened(
            number, client, socket, end, handler, net, exchange.kind, exchange
        )

    def replay(self, exchange: Exchange) -> None:
        """A recorded request is sent again."""
        client = Client(peername=("198.18.0.9", 1), sockname=("198.18.0.1", 8080))
        flow = http.HTTPFlow(client, Server(address=(exchange.host, 80)))
        flow.request = http.Request.make(
            exchange.method,
            f"http://{exchange.host}{exchange.path}",
            exchange.up.expected,
            [(b"X-Exchange", str(exchange.number).encode())],
        )
        handler = ReplayHandler(flow, self.master.options)
        task = self.loop.create_task(handler.replay())
        self._replays.add(task)
        task.add_done_callback(self._replays.discard)

    def _accept(
        self, name: str, net: Net, address: str, mode: mode_specs.ProxyMode
    ) -> tuple[Socket, ProxyEnd, ProxyConnectionHandler]:
        reader = asyncio.StreamReader(limit=2**16, loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        extra = {"peername": (address, 40_000), "sockname": ("198.18.0.1", 8080)}
        end, socket = connect(
            self.loop,
            protocol,
            latency_s=net.latency_s,
            capacity=net.capacity,
            chance=self.chance(name),
            extra=extra,
        )
        socket.pieces_bytes = net.pieces_bytes
        if self.keep_wire:
            end.written = self.wire[name] = []
        writer = asyncio.StreamWriter(end, protocol, reader, self.loop)
        handler = ProxyConnectionHandler(self.master, reader, writer, self.master.options, mode)
        top = modes.HttpProxy if isinstance(mode, mode_specs.RegularMode) else modes.ReverseProxy
        handler.layer = top(handler.layer.context)
        self._handlers.append(weakref.ref(handler))
        return socket, end, handler

    def _handle(self, handler: ProxyConnectionHandler) -> None:
        async def handle() -> None:
            with self.proxyserver.register_connection(handler.client.id, handler):
                await handler.handle_client()

        task = self.loop.create_task(handle())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        net = self.nets.get(host, Net())
        await asyncio.sleep(net.latency_s)
        if host.startswith("d"):
            raise ConnectionRefusedError(111, f"Connect call failed {host}:{port}")
        protocol = factory()
        assert isinstance(protocol, asyncio.Protocol)
        name = f"origin {len(self.origins)}"
        end, socket = connect(
            self.loop,
            protocol,
            latency_s=net.latency_s,
            capacity=net.capacity,
            chance=self.chance(name, host, port),
            extra={"peername": (host, port), "sockname": ("198.18.0.1", 50_000)},
        )
        socket.pieces_bytes = net.pieces_bytes
        if self.keep_wire:
            end.written = self.wire[name] = []
        origin: Http1Origin | Http2Origin | RelayOrigin
        if port >= RELAY_PORT:
            exchange = self.exchanges.get(port - RELAY_PORT)
            origin = RelayOrigin(self.loop, socket, exchange, self.find)
        elif host.endswith("3.test"):
            origin = RelayOrigin(self.loop, socket, None, self.find)
        elif host.endswith("2.test"):
            origin = Http2Origin(self.loop, socket, net.window, self.find)
        else:
            origin = Http1Origin(self.loop, socket, self.find)
        self.origins.append(origin)
        return end, protocol

    # -- the run

    async def do(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.before_start:
                await step.do(self)
        await self.start()
        for step in steps:
            if not step.before_start:
                await step.do(self)
                self.steps_done += 1
                self.policy_changed()
                self.checker.after_step()
        await self.finish()

    def _read_on(self) -> None:
        for opened in self.clients.values():
            opened.socket.read_on()
            opened.was_slow = opened.was_slow or opened.reads_slowly
            opened.reads_slowly = False
            if isinstance(opened.client, Http2Client):
                opened.client.credit_again()
                if opened.client.window < 1 << 14:
                    opened.client.change_window(1 << 16)

    def _go(self) -> None:
        """(By itself, so that no name of it keeps anything alive.)"""
        for opened in self.clients.values():
            self.checker.before_client_goes(opened)
        for opened in list(self.clients.values()):
            opened.client.close()
        for origin in self.origins:
            if not origin.gone:
                origin.close()

    def _http_and_relayed(self) -> list[Exchange]:
        return [e for e in self.exchanges.values() if e.kind != "replay"]

    async def finish(self) -> None:
        """Everybody reads on; all comes to its end, in time; all go; nothing is left."""
        self._read_on()
        self.checker.all_read_on()
        end = self.now() + LONGEST_S
        step_s = 0.25
        while self.now() < end and not all(e.is_over for e in self._http_and_relayed()):
            await asyncio.sleep(step_s)
            self.policy_changed()
            self.checker.after_step()
            if self.checker.nothing_more_comes():
                break
        if self._replays:
            await asyncio.wait(self._replays, timeout=30)
        await asyncio.sleep(0.5)
        self.checker.all_over()
        self._go()
        await asyncio.sleep(QUIET_S)
        if self.throttle is not None:
            probe.tell_all(self.throttle)
        self.checker.all_gone(self._handlers)
        if self.stopped_at is None:
            await self.master.done()
        tasks = [task for task in self._tasks if not task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        self.checker.done(sum(not task.done() for task in tasks))


class Hangs(SystemExit):
    """The proxy runs in a circle.  (Of all exceptions only such leave a task and its loop.)"""


LONGEST_CPU_S = 5.0


@contextmanager
def _watched() -> Iterator[None]:
    """Whatever runs in a circle is stopped, by the processor's time that it has taken."""

    def stop(number: int, frame: FrameType | None) -> None:
        where: list[str] = []
        while frame is not None and len(where) < 8:
            where.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
            frame = frame.f_back
        raise Hangs(" < ".join(where))

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@dataclass
class Outcome:
    """What a run has shown."""

    faults: list[Fault]
    exchanges: int
    steps: int
    virtual_s: float
    world: World


def run(
    seed: int, steps: Sequence[Step], *, throttled: bool = True, keep_wire: bool = False
) -> Outcome:
    """Do these steps in a world of their own."""
    world = World(seed, throttled=throttled, keep_wire=keep_wire)
    for step in steps:
        if type(step).__name__ == "Uptime":
            world.clock_start = step.seconds  # type: ignore[attr-defined]  # see steps.py
    loop = world.loop = VirtualLoop(world.clock_start)
    root = logging.getLogger()
    level = root.level
    root.addHandler(world.errors)
    root.setLevel(logging.WARNING)
    unhandled: list[str] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(_said(context)))
    try:
        with world_of(loop, seed), probe.known_mitmproxy():
            try:
                with _watched():
                    loop.run_until_complete(world.do(steps))
            except Hangs as error:
                world.checker.fault("hangs", str(error))
            except NothingToDo:
                world.checker.fault("stuck", "nothing would ever happen any more")
            except Exception as error:
                world.checker.crashed(error)
            world.checker.unhandled(unhandled)
            virtual_s = loop.elapsed()
            _end_tasks(loop)
    finally:
        root.removeHandler(world.errors)
        root.setLevel(level)
        if world.throttle is not None:
            probe.take_out(world.throttle)
        if hasattr(world, "master"):
            world.master._legacy_log_events.uninstall()
        loop.close()
    return Outcome(world.checker.faults, len(world.exchanges), world.steps_done, virtual_s, world)


def _said(context: dict[str, Any]) -> str:
    error = context.get("exception")
    if isinstance(error, Injected):
        return ""
    return f"{context.get('message')}: {error!r}"


def _end_tasks(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        with suppress(NothingToDo):
            loop.run_until_complete(asyncio.wait(left, timeout=5))


def examine(seed: int, steps: Sequence[Step]) -> Outcome:
    """The same, and what bare mitmproxy does alike is no fault of ours; where no rule is for any
    exchange, what is on the wire is what bare mitmproxy writes, to the frame."""
    outcome = run(seed, steps, keep_wire=True)
    unmatched = _is_unmatched(outcome.world)
    if not outcome.faults and not unmatched:
        return outcome
    bare = run(seed, steps, throttled=False, keep_wire=True)
    known = {(fault.kind, fault.about) for fault in bare.faults}
    broken = {fault.about[0] for fault in bare.faults if isinstance(fault.about, tuple)}
    outcome.faults = [
        fault
        for fault in outcome.faults
        if (fault.kind, fault.about) not in known
        and not (
            fault.kind == "record" and isinstance(fault.about, tuple) and fault.about[0] in broken
        )
    ]
    if unmatched:
        pool = dict(outcome.world.wire)
        for name, written in bare.world.wire.items():
            # Which of two connections to an origin comes first at one moment is no promise.
            same = (each for each in pool if name.startswith("origin") and pool[each] == written)
            if text := differences(pool.pop(next(same, name), []), written):
                outcome.faults.append(Fault("frame", f"to {name}, {text}", name))
    return outcome


def _is_unmatched(world: World) -> bool:
    """Whether nothing in that run could be paced."""
    if any("upload" in then or "like" in then for then in world.rules.values()) or world.stopped_at:
        return False
    return bool(world.exchanges) and all(
        rule_number(exchange.host) is None for exchange in world.exchanges.values()
    )
