"""What may happen, one small thing each.

Rule: a step whose subject is not there does nothing, so any of them can be left out.  The text of
a step is what makes it again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from mitmproxy import exceptions

from .exchange import Exchange
from .peers_http2 import Http2Client
from .scenario import Net, World


@dataclass(frozen=True)
class _Step:
    before_start: ClassVar[bool] = False

    async def do(self, world: World) -> None:
        self.now(world)

    def now(self, world: World) -> None:
        raise NotImplementedError


# -- before the proxy starts


@dataclass(frozen=True)
class Uptime(_Step):
    """The machine has been up for so long."""

    seconds: float
    before_start = True

    def now(self, world: World) -> None:
        pass  # the loop was made so


@dataclass(frozen=True)
class Busy(_Step):
    """The machine is busy: every timer is late, by up to so many seconds."""

    late_s: float
    before_start = True

    def now(self, world: World) -> None:
        world.loop.late_s = self.late_s


@dataclass(frozen=True)
class Option(_Step):
    name: str
    value: Any
    before_start = True

    def now(self, world: World) -> None:
        if world.throttled or not self.name.startswith("throttle"):
            world.options[self.name] = self.value


@dataclass(frozen=True)
class MeddlerLast(_Step):
    """The other addon comes behind ours."""

    before_start = True

    def now(self, world: World) -> None:
        world.meddler_first = False


@dataclass(frozen=True)
class Host(_Step):
    """How a host is reached."""

    host: str
    latency_s: float
    capacity: int
    window: int
    pieces_bytes: int | None
    before_start = True

    def now(self, world: World) -> None:
        world.nets[self.host] = Net(self.latency_s, self.capacity, self.window, self.pieces_bytes)


@dataclass(frozen=True)
class Policy(_Step):
    """An effect that the policy has from the start; None: not."""

    rule: int
    key: str
    value: Any
    before_start = True

    def now(self, world: World) -> None:
        _edit(world, self.rule, self.key, self.value)


@dataclass(frozen=True)
class When(_Step):
    """A condition of a rule, besides its hosts."""

    rule: int
    key: str
    value: Any
    before_start = True

    def now(self, world: World) -> None:
        before = dict(world.conditions.get(self.rule, {}))
        world.conditions.setdefault(self.rule, {})[self.key] = self.value
        if world.policy() is None:
            world.conditions[self.rule] = before


def _edit(world: World, rule: int, key: str, value: Any) -> bool:
    then = world.rules.setdefault(rule, {})
    before, were_gone = dict(then), set(world.gone_rules)
    if key == "rule":
        (world.gone_rules.discard if value else world.gone_rules.add)(rule)
    elif key == "then":
        world.rules[rule] = dict(value)
    elif value is None:
        then.pop(key, None)
    else:
        then[key] = value
    if world.policy() is None:
        world.rules[rule], world.gone_rules = before, were_gone
        return False
    return True


# -- time


@dataclass(frozen=True)
class Wait(_Step):
    seconds: float

    async def do(self, world: World) -> None:
        left = self.seconds
        while left > 0:
            await asyncio.sleep(min(left, 0.5))
            left -= 0.5
            world.policy_changed()
            world.checker.after_step()


@dataclass(frozen=True)
class Suspend(_Step):
    """The machine sleeps: all that was due is late."""

    seconds: float

    def now(self, world: World) -> None:
        before = world.now()
        world.loop.move(self.seconds)
        world.suspended.append((before, world.now()))


@dataclass(frozen=True)
class SetClock(_Step):
    """Somebody sets the wall clock."""

    by_s: float

    def now(self, world: World) -> None:
        world.wall_was_set = True
        world.loop.set_wall(self.by_s)


# -- clients


@dataclass(frozen=True)
class Open(_Step):
    """A client connects.  kind: h1, h2; tunnel1, tunnel2: inside a CONNECT to that host."""

    client: int
    kind: str
    latency_s: float = 0.002
    capacity: int = 128 * 1024
    window: int = 65_535
    pieces_bytes: int | None = None
    address: str = "198.18.0.7"
    host: str = "a1.test"

    def now(self, world: World) -> None:
        if self.client not in world.clients:
            # mitmproxy takes three bytes of a tunnel for no HTTP.
            pieces = None if self.kind.startswith("tunnel") else self.pieces_bytes
            net = Net(self.latency_s, self.capacity, self.window, pieces)
            world.open(self.client, self.kind, net, self.address, self.host)


@dataclass(frozen=True)
class Ask(_Step):
    """A request.  What is special about it was said by `Twist` before."""

    number: int
    client: int
    host: str
    method: str = "GET"
    up_bytes: int = 0
    down_bytes: int = 1000

    def now(self, world: World) -> None:
        opened = world.clients.get(self.client)
        if opened is None or opened.exchange is not None or self.number in world.exchanges:
            return
        host = opened.tunnel or self.host
        if opened.kind == "h1" and opened.client.gone:
            return
        exchange = Exchange(
            self.number, self.client, host, "http", self.method, self.up_bytes, self.down_bytes
        )
        _twist(world, exchange)
        if not (opened.kind.endswith("2") and host.endswith("2.test")):
            exchange.trailers = False  # mitmproxy crashes on them towards HTTP/1
        world.exchanges[self.number] = exchange
        opened.asked.append(exchange)
        opened.client.ask(exchange)


@dataclass(frozen=True)
class Relay(_Step):
    """A connection that is relayed.  kind: relay (by CONNECT), tcp, upgrade, websocket."""

    number: int
    client: int
    kind: str
    host: str
    up_bytes: int = 1000
    down_bytes: int = 1000
    latency_s: float = 0.002
    address: str = "198.18.0.7"

    def now(self, world: World) -> None:
        if self.client in world.clients or self.number in world.exchanges:
            return
        exchange = Exchange(
            self.number, self.client, self.host, self.kind, "GET", self.up_bytes, self.down_bytes
        )
        _twist(world, exchange)
        world.exchanges[self.number] = exchange
        world.relay(self.client, exchange, Net(self.latency_s), self.address)


@dataclass(frozen=True)
class Replay(_Step):
    """mitmproxy's client replay of a request: a flow that has no client's connection."""

    number: int
    host: str
    up_bytes: int = 0
    down_bytes: int = 1000

    def now(self, world: World) -> None:
        if self.number not in world.exchanges and world.stopped_at is None:
            method = "POST" if self.up_bytes else "GET"
            exchange = Exchange(
                self.number, -1, self.host, "replay", method, self.up_bytes, self.down_bytes
            )
            world.exchanges[self.number] = exchange
            world.replay(exchange)


@dataclass(frozen=True)
class Twist(_Step):
    """Something special about an exchange that is to come."""

    number: int
    name: str
    value: Any

    def now(self, world: World) -> None:
        world.twists.setdefault(self.number, []).append((self.name, self.value))


def _twist(world: World, exchange: Exchange) -> None:
    for name, value in world.twists.get(exchange.number, ()):
        if name == "meddling":
            exchange.meddling = (*exchange.meddling, value)
        else:
            setattr(exchange, name, value)
    exchange.lay_out()


@dataclass(frozen=True)
class Client(_Step):
    """deed: reset, close, half-close, stop (reading), read (on), slow, goaway, window."""

    client: int
    deed: str
    value: float = 0

    def now(self, world: World) -> None:
        opened = world.clients.get(self.client)
        if opened is None or opened.client.gone:
            return
        client, socket = opened.client, opened.socket
        h2 = client if isinstance(client, Http2Client) else None
        match self.deed:
            case "reset":
                client.reset()
            case "close":
                client.close()
            case "half-close":
                client.half_close()
            case "goaway" if h2 is not None:
                h2.leave()
            case "stop" if h2 is not None:
                h2.credits = False
                opened.reads_slowly = True
            case "stop":
                socket.stop_reading()
                opened.reads_slowly = True
            case "read":
                if h2 is not None:
                    h2.credit_again()
                socket.read_on()
                world.checker.reads_on(opened)
            case "slow":
                socket.read_slowly(self.value)
                opened.reads_slowly = True
            case "window" if h2 is not None and h2._tunnelled:
                opened.reads_slowly = True
                h2.change_window(int(self.value))


@dataclass(frozen=True)
class Cancel(_Step):
    """The client gives an exchange up (HTTP/2: by RST_STREAM)."""

    number: int

    def now(self, world: World) -> None:
        exchange = world.exchanges.get(self.number)
        if exchange is not None and exchange.cancel is not None and not exchange.is_over:
            exchange.cancel()


@dataclass(frozen=True)
class Origin(_Step):
    """The origin of an exchange ends it.  how: close, reset, rst, goaway."""

    number: int
    how: str

    def now(self, world: World) -> None:
        exchange = world.exchanges.get(self.number)
        if exchange is None or exchange.origin_cancel is None or exchange.down.sent_all:
            return
        if exchange.is_over:
            return
        how = self.how
        if how in ("rst", "goaway") and not exchange.host.endswith("2.test"):
            how = "reset"
        exchange.origin_cancel(how)


# -- the throttle


@dataclass(frozen=True)
class Edit(_Step):
    """The policy's file changes: an effect of a rule, the `rule`, all it says (`then`)."""

    rule: int
    key: str
    value: Any

    def now(self, world: World) -> None:
        if _edit(world, self.rule, self.key, self.value):
            world.edits.append((world.now(), self.rule, self.key))
            world.use_policy()


@dataclass(frozen=True)
class Comment(_Step):
    """A comment is added to the file."""

    def now(self, world: World) -> None:
        world.use_policy()


@dataclass(frozen=True)
class Command(_Step):
    """A command of mitmproxy's, as a user types it."""

    text: str

    def now(self, world: World) -> None:
        if world.throttle is None or world.stopped_at is not None:
            return
        try:
            world.master.commands.execute(self.text)
        except exceptions.CommandError:
            return  # it says why, and changes nothing
        world.commands.append((world.now(), self.text))


@dataclass(frozen=True)
class Stop(_Step):
    """The proxy stops, as by SIGINT."""

    def now(self, world: World) -> None:
        world.stop_proxy()
