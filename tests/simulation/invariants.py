"""What has to hold, whatever happens.

Rule: a promise is worked out from the documents and the policy, never from the code under test;
and what was done to an exchange from outside excuses no more than it explains.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmthrottle.policy import Policy, RateLimit, Rule, Then

from . import probe
from .exchange import Exchange, Way
from .wiring import HTTP2_HOSTS

if TYPE_CHECKING:
    from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

    from .scenario import Opened, World

# What ARCHITECTURE.md and docs/policy.md promise.
DEFAULT_BURST_S, POLICER_BURST_S = 0.1, 0.5
CATCH_UP_S = 0.1
SMALLEST_PIECE_BYTES = 256
LONGEST_TURN_S = 1.6  # behind a crowd that has come, and a piece in it
SLACK_S = 0.6
FAIR_LATENCY_S = 0.02
LINGERING = 4  # what was woken last is kept until something else is


@dataclass(frozen=True)
class Fault:
    """`kind`: which promise was broken."""

    kind: str
    text: str
    about: object = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def rule_number(host: str) -> int | None:
    """Of a host's rule; None: no rule is for it."""
    return {"a": 0, "d": 0, "b": 1, "p0": 0, "p1": 1}.get(host[:2] if host[0] == "p" else host[0])


class Checker:
    """Looks after each step, and at the end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults: list[Fault] = []
        self._said: set[tuple[str, object]] = set()
        self._read_on_at: dict[int, float] = defaultdict(float)
        self._changed_at = 0.0
        self._last_step_at = 0.0

    def fault(self, kind: str, text: str, about: object = None) -> None:
        if (kind, about) not in self._said:
            self._said.add((kind, about))
            self.faults.append(Fault(kind, text, about))

    def crashed(self, error: Exception) -> None:
        where, last = error.__traceback__, ""
        while where is not None:
            last = f"{where.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{where.tb_lineno}"
            where = where.tb_next
        self.fault("error", f"{type(error).__name__}: {error} ({last})")

    def unhandled(self, texts: Iterable[str]) -> None:
        for text in texts:
            if text:
                self.fault("unhandled", text, text)

    # -- what the policy says

    def versions(
        self, exchange: Exchange, since: float = -math.inf
    ) -> Iterator[tuple[float, Rule | None]]:
        """The exchange's rule as it was and has become, with the time since when."""
        number = rule_number(exchange.host)
        policies = self.world.policies
        for index, (at, policy) in enumerate(policies):
            until = policies[index + 1][0] if index + 1 < len(policies) else math.inf
            if until > since:
                yield at, None if number is None else _rule(policy, number)

    def thens(self, exchange: Exchange) -> list[Then]:
        """Everything that its rule has said since it was asked, stages included."""
        found: list[Then] = []
        for _, rule in self.versions(exchange, exchange.asked_at or 0.0):
            if rule is not None:
                found.append(rule.then)
                found += [rule.then.at(t)[0] for t in _moments(rule.then)]
        return found

    def then_at(self, exchange: Exchange, when: float, began: float) -> Then | None:
        """What its rule says at that moment; None: nothing."""
        rule: Rule | None = None
        for at, version in self.versions(exchange):
            if at > when:
                break
            rule = version
        if rule is None or rule.then.pass_ or self.world.throttle is None:
            return None
        origin = began if rule.then.from_ == "response" else self.world.policy_started
        then = rule.then.at(when - origin)[0]
        return None if then.pass_ else self._commanded(then, rule.name, when)

    def _commanded(self, then: Then, rule: str, when: float) -> Then:
        """`throttle.rate` changes the narrowest limit, in stages too, until it is taken back."""
        rate: float | None = None
        for at, text in self.world.commands:
            command, _, rest = text.partition(" ")
            name, *values = rest.split('"')[1::2]
            if name != rule or at > when:
                continue
            lasts = at + 0.5 if "500 ms" in values else math.inf
            if command == "throttle.rate" and when <= lasts:
                rate = float(values[0].removesuffix(" B/s"))
            elif command == "throttle.enable":
                rate = None
        if rate is None or not then.rate:
            return then
        pers = ("response", "connection", "client", "host", "rule")
        narrowest = min(then.rate, key=lambda limit: pers.index(limit.per))
        changed = narrowest.model_copy(update={"limit_bytes_per_s": rate})
        limits = tuple(changed if limit is narrowest else limit for limit in then.rate)
        return then.model_copy(update={"rate": limits})

    def begun(self, exchange: Exchange, direction: str = "down") -> probe.Begun | None:
        if self.world.seen is None:
            return None
        for each in self.world.seen.begun:
            if each.direction == direction and self._is_of(each, exchange):
                return each
        return None

    def _is_of(self, told: probe.Begun | probe.Ended, exchange: Exchange) -> bool:
        if exchange.kind == "http":
            return told.path == exchange.path and told.kind in ("response", "upload")
        if exchange.kind == "websocket":
            return told.path == exchange.path and told.kind == "websocket"
        if exchange.kind == "upgrade":
            opened = self.world.clients[exchange.client]
            return (
                isinstance(told, probe.Begun)
                and told.kind == "opaque"
                and told.client_id == opened.handler.client.id
            )
        return told.kind == "opaque" and told.port == 10_000 + exchange.number

    # -- while it goes on

    def policy_changed(self) -> None:
        self._changed_at = self.world.now()

    def reads_on(self, opened: Opened) -> None:
        self._read_on_at[opened.number] = self.world.now()

    def all_read_on(self) -> None:
        self._last_step_at = self.world.now()
        for number in self.world.clients:
            self._read_on_at[number] = self.world.now()

    def after_step(self) -> None:
        for exchange in self.world.exchanges.values():
            if exchange.is_over or exchange.asked_at is None:
                continue
            self._bytes(exchange)
            if exchange.kind == "http" and not exchange.harm:
                self._goes_on(exchange)
        for text in self.world.errors.crashes:
            self.fault("crash", text, text)
        if self.world.seen is not None:
            for failure in self.world.seen.failures:
                self.fault("failed", f"an error of ours on {failure}", "failed")

    def _bytes(self, exchange: Exchange) -> None:
        for name, way in (("down", exchange.down), ("up", exchange.up)):
            if name == "down" and exchange.kind == "http" and not self._is_origins(exchange):
                continue
            if way.wrong and "addon callback" not in exchange.harm:
                self.fault("bytes", f"{name}: {way.wrong}; {exchange}", (exchange.number, name))

    def _is_origins(self, exchange: Exchange) -> bool:
        """Whether what came is the origin's answer (or the other addon's), not an error's page."""
        expected = 203 if exchange.answered_by == "addon" else exchange.status
        return exchange.got_status == expected

    def _goes_on(self, exchange: Exchange) -> None:
        """No silence longer than a piece of what it may have."""
        world, now = self.world, self.world.now()
        begun = self.begun(exchange)
        opened = world.clients[exchange.client]
        way = exchange.down
        if (
            begun is None
            or begun.rule is None
            or opened.reads_slowly
            or world.suspended
            or world.wall_was_set
        ):
            return
        said = len(way.expected) if exchange.answered_by == "addon" else way.sent
        if said <= way.got:
            return
        net = world.nets.get(exchange.host)
        latency = opened.net.latency_s + (net.latency_s if net else 0.002)
        last = max(
            way.arrivals[-1][0] if way.arrivals else begun.at,
            max(way.sent_at, way.taken_at) if exchange.answered_by == "origin" else begun.at,
            self._changed_at,
            self._read_on_at[exchange.client],
        )
        then = self.then_at(exchange, now, begun.at)
        before = self.then_at(exchange, now - 0.25, begun.at)
        if then is not before and (then is None or before is None or then.rate != before.rate):
            return  # a stage has just begun
        allowed = SLACK_S + 4 * latency
        if way.taken <= way.got and exchange.answered_by == "origin":
            # It is on its way to us, over a line of this capacity.
            allowed += 4 * (said - way.got) * latency / (net.capacity if net else 1 << 17)
        if then is not None:
            if then.block is not None or (then.requests and not way.arrivals):
                return
            busy = 1 + sum(not e.is_over for e in world.exchanges.values())
            allowed += self._longest_gap(then, busy)
            if then.stall is not None:
                allowed += then.stall.for_s
            if not way.arrivals and any(t.delay is not None for t in self.thens(exchange)):
                allowed += 3.0
        if any(deed[1] == "slow" for deed in exchange.meddling):
            allowed += 2.0
        if now - last > allowed:
            self.fault(
                "silence",
                f"nothing for {now - last:.2f} s ({allowed:.2f} allowed) while {said - way.got} B "
                f"were sent and wait, of {exchange}; it may have {_said(then)}",
                exchange.number,
            )

    def _longest_gap(self, then: Then, busy: int) -> float:
        gap = 0.0
        for limit in then.rate:
            rate = limit.limit_bytes_per_s
            shared = busy if limit.per != "response" else 1
            piece = SMALLEST_PIECE_BYTES * shared / rate
            turn = LONGEST_TURN_S if shared > 1 else 0.2
            if then.as_ == "policer":
                turn += shared * _burst(then, rate) / rate
            gap = max(gap, piece + turn)
        return gap

    # -- what may have ended it

    def excuses(self, exchange: Exchange) -> set[str]:
        """Why it may have had another end than a complete one."""
        found = set(exchange.harm)
        if exchange.host.startswith("d"):
            found.add("no origin")
        within = self._within_quota(exchange)
        for then in self.thens(exchange):
            if within:
                break
            size = len(exchange.down.expected) * (1.1 if exchange.kind == "websocket" else 1.0)
            if then.cut is not None and then.cut.after_bytes <= size:
                found.add("cut")
            if then.stall is not None and then.stall.for_s > 60:
                found.add("stall")
            if then.block is not None:
                began = exchange.down.got > 0 and self._is_origins(exchange)
                if (
                    then.quota is None
                    or not began
                    or self._has_stages(exchange)  # a stage that blocks ends what began outside it
                    or self._edited(exchange, "quota", "block", "then")
                ):
                    found.add("block")
        if exchange.host.endswith("2.test"):  # on whose connection there are others
            for other in self.world.exchanges.values():
                if other.host == exchange.host and other.client == exchange.client:
                    ended = {"origin close", "origin reset", "origin goaway"} & other.harm
                    found |= {f"beside: {harm}" for harm in ended}
        timeout = self.world.options.get("tcp_timeout", 600)
        silent = max(exchange.answer_delay_s, exchange.pause[1] if exchange.pause else 0.0)
        opened = self.world.clients[exchange.client]
        if opened.kind.endswith("1"):  # one after the other: what ended one may have ended the next
            for other in opened.asked:
                if other is not exchange and other.number < exchange.number:
                    found |= {f"before: {harm}" for harm in self.excuses(other)}
        if exchange.host.endswith(HTTP2_HOSTS):  # several on one connection to their origin
            for other in opened.asked:
                if other is not exchange and other.host == exchange.host:
                    found |= {harm for harm in other.harm if harm.startswith("origin")}
        if silent >= timeout or opened.reads_slowly or opened.was_slow or self.world.wall_was_set:
            found.add("timeout")
        if any(end - start >= 5 for start, end in self.world.suspended):
            found.add("timeout")
        return found

    def _has_stages(self, exchange: Exchange) -> bool:
        versions = self.versions(exchange, exchange.asked_at or 0.0)
        return any(rule is not None and bool(rule.then.stages) for _, rule in versions)

    def _edited(self, exchange: Exchange, *keys: str) -> bool:
        since = exchange.asked_at or 0.0
        number = rule_number(exchange.host)
        return any(at >= since and n == number and k in keys for at, n, k in self.world.edits)

    def _may_hang(self, exchange: Exchange) -> bool:
        if exchange.harm:
            return True
        return any(
            then.block == "timeout" or (then.stall is not None and then.stall.for_s > 60)
            for then in self.thens(exchange)
        )

    def nothing_more_comes(self) -> bool:
        waiting = [
            e for e in self.world.exchanges.values() if e.asked_at is not None and not e.is_over
        ]
        if any(not self._may_hang(exchange) for exchange in waiting):
            return False
        last = max((e.down.arrivals[-1][0] for e in waiting if e.down.arrivals), default=0.0)
        return self.world.now() - max(last, self._changed_at, self._last_step_at) > 15

    # -- when all is over

    def all_over(self) -> None:
        for exchange in self.world.exchanges.values():
            if (
                exchange.asked_at is None
                or "no connection" in exchange.harm
                or exchange.kind == "replay"
            ):
                continue
            self._bytes(exchange)
            self._ended_well(exchange)
        self._rates()
        self._starts()
        self._goodput()
        self._places()

    def _ended_well(self, exchange: Exchange) -> None:
        excuses = self.excuses(exchange)
        if exchange.kind == "http" and exchange.got_status is not None:
            self._status(exchange, excuses)
        for name, way in (("down", exchange.down), ("up", exchange.up)):
            if name == "up" and (
                exchange.kind == "http" and (not way.expected or exchange.answered_by != "origin")
            ):
                continue
            self._way_ended_well(exchange, name, way, excuses)

    def _status(self, exchange: Exchange, excuses: set[str]) -> None:
        right = {203 if exchange.answered_by == "addon" else exchange.status}
        right |= {t.block for t in self.thens(exchange) if isinstance(t.block, int)}
        if exchange.answered_by == "addon" and excuses:
            right.add(exchange.status)
        if excuses - {"cut"} or exchange.harm:
            right |= {502, 400, 504}
        if exchange.got_status not in right:
            self.fault(
                "status",
                f"{exchange.got_status} instead of {right} for {exchange}",
                exchange.number,
            )

    def _way_ended_well(self, exchange: Exchange, name: str, way: Way, excuses: set[str]) -> None:
        answered = name == "down" and exchange.kind == "http" and exchange.got_status is not None
        if answered and not self._is_origins(exchange):
            return
        if "addon callback" in exchange.harm:
            return
        whole = way.got == len(way.expected)
        if way.complete_at is not None and whole:
            return
        truncatable = exchange.ends_with_connection or exchange.kind in ("relay", "tcp", "upgrade")
        if way.complete_at is not None and not (excuses and truncatable):
            if not exchange.harm or name == "down":
                self.fault(
                    "short",
                    f"{name} ends properly after {way.got} of {len(way.expected)} B: {exchange}",
                    (exchange.number, name),
                )
            return
        if excuses:
            return
        kind = "unfinished" if not way.is_over else "lost"
        self.fault(kind, f"{name} of {exchange}; no reason is known", (exchange.number, name))

    # -- rates, measured at the receiver

    def _fair(self, exchange: Exchange) -> bool:
        """Whether what its client gets comes as the proxy sends it."""
        opened = self.world.clients[exchange.client]
        conditions = self.world.conditions.get(rule_number(exchange.host) or 0, {})
        return (
            not (opened.reads_slowly or opened.was_slow)
            and opened.net.latency_s <= FAIR_LATENCY_S
            and opened.net.window >= 65_535
            and opened.net.capacity >= 64 * 1024
            and not (conditions.get("size") and exchange.framing != "length")
            and not any(
                deed.startswith("stream") or deed == "slow" for _, deed in exchange.meddling
            )
            and self._is_origins(exchange)
        )

    def _bound(self, exchange: Exchange) -> tuple[float, float] | None:
        """From when to when its rule held; None: never, or nobody can tell."""
        begun = self.begun(exchange)
        if begun is None or begun.rule is None:
            return None
        until = self.world.stopped_at or math.inf
        for at, rule in self.versions(exchange, begun.at):
            if rule is None or rule.then.pass_:
                return begun.at, min(until, max(at, begun.at))
        return begun.at, until

    def _rates(self) -> None:
        world = self.world
        if world.suspended or world.throttle is None:
            return
        groups: defaultdict[tuple[str, str], list[tuple[float, int, Exchange, float]]] = (
            defaultdict(list)
        )
        for exchange in world.exchanges.values():
            if exchange.kind != "http" or not exchange.down.arrivals or not self._fair(exchange):
                continue
            bound = self._bound(exchange)
            if bound is None:
                continue
            if any(harm.startswith("origin") for harm in exchange.harm):
                continue  # what is held of it goes out at once
            since, until = bound
            events = [(t, n, exchange, since) for t, n in exchange.down.arrivals if t <= until]
            groups["response", str(exchange.number)] += events
            opened = world.clients[exchange.client]
            address = str(opened.end.get_extra_info("peername")[0])
            rule = str(rule_number(exchange.host))
            groups["connection", f"{rule}/{exchange.client}"] += events
            groups["client", f"{rule}/{address}"] += events
            groups["host", f"{rule}/{exchange.host}"] += events
            groups["rule", rule] += events
        for (per, party), events in groups.items():
            self._rate(per, party, sorted(events, key=lambda event: event[0]))

    def _rate(self, per: str, party: str, events: list[tuple[float, int, Exchange, float]]) -> None:
        """A leaky bucket: never more in it than the burst."""
        level, last, depth, start = 0.0, -math.inf, 0.0, 0.0
        recent = 0.0
        for at, size, exchange, began in events:
            found = self._limit(exchange, per, at, began)
            earlier = self._limit(exchange, per, at - 0.15, began)
            if found is None or earlier is None:
                level, last, depth, recent = 0.0, at, 0.0, 0.0
                continue
            rate = max(found[0], earlier[0], recent if at - last < 0.2 else 0.0)
            recent = max(found[0], earlier[0])
            before, depth = depth, max(found[1], earlier[1])
            if depth < before:
                level = min(level, depth)  # what was earned at a higher rate is not held against it
            if at > last:
                level = max(0.0, level - (rate * (at - last) if last > -math.inf else 0.0))
                if not level:
                    start = at
                last = at
            level += size
            if level > depth + 0.02 * rate + 2:
                self.fault(
                    "rate",
                    f"{level:.0f} B above {rate:.0f} B/s (burst and allowance {depth:.0f} B) since "
                    f"{at - start:.2f} s, per {per} {party}, at {exchange}; {_said(found[2])}",
                    (per, party),
                )
                return

    def _limit(
        self, exchange: Exchange, per: str, when: float, began: float
    ) -> tuple[float, float, Then] | None:
        """The rate in force, and what may come above it."""
        then = self.then_at(exchange, max(when, began), began)
        if then is None:
            return None
        if then.from_ == "response" and per != "response":
            return None
        each = then.from_ == "response"  # every response has stages of its own
        limits: list[RateLimit] = [limit for limit in then.rate if limit.per == per or each]
        if not limits:
            return None
        rate = min(limit.limit_bytes_per_s for limit in limits)
        above = max(_burst(then, limit.limit_bytes_per_s) for limit in limits)
        above += CATCH_UP_S * rate + SMALLEST_PIECE_BYTES
        if then.quota is not None:
            periods = 2.0 if self.world.wall_was_set else 1.0
            if isinstance(then.quota.every, float):
                periods += math.ceil(self.world.loop.elapsed() / then.quota.every)
            if then.quota.per != per:
                periods *= len(self.world.exchanges)
            above += then.quota.free_bytes * periods
        return rate, above, then

    # -- speed

    def _within_quota(self, exchange: Exchange) -> bool:
        """Whether all that its rule's bodies have taken is free."""
        thens = self.thens(exchange)
        if not thens or any(then.quota is None for then in thens) or exchange.kind != "http":
            return False
        if self._edited(exchange, "quota", "then", "rule") or self.world.wall_was_set:
            return False
        number = rule_number(exchange.host)
        used = sum(
            len(each.down.expected) + len(each.up.expected)
            for each in self.world.exchanges.values()
            if rule_number(each.host) == number
        )
        return used <= min(then.quota.free_bytes for then in thens if then.quota is not None)

    def _net_bytes_per_s(self, exchange: Exchange) -> float:
        """What the lines alone let through, at the least."""
        net = self.world.nets.get(exchange.host)
        opened = self.world.clients[exchange.client]
        lines = [(opened.net.latency_s, opened.net.capacity)]
        lines.append((net.latency_s, net.capacity) if net else (0.002, 1 << 17))
        if opened.kind.endswith("2"):
            lines.append((2 * opened.net.latency_s, opened.net.window))
        return 0.5 * min(capacity / (latency + 0.002) for latency, capacity in lines)

    def _goodput(self) -> None:
        """A body gets what it may have, and not only no more."""
        world = self.world
        if world.suspended or world.wall_was_set or world.throttle is None:
            return
        for exchange in world.exchanges.values():
            way = exchange.down
            bound = self._bound(exchange) if exchange.kind == "http" else None
            end = way.complete_at
            if bound is None or end is None or not way.arrivals or exchange.harm:
                continue
            if exchange.pause or exchange.answered_by != "origin" or not self._fair(exchange):
                continue
            if self._within_quota(exchange):
                self._full_speed(exchange, bound[0], end)
            self._steady(exchange, bound[0], end)

    def _full_speed(self, exchange: Exchange, begun: float, end: float) -> None:
        size = len(exchange.down.expected)
        others = sum(len(each.down.expected) for each in self.world.exchanges.values())
        allowed = 1.5 + others / self._net_bytes_per_s(exchange) + (2 if exchange.meddling else 0)
        allowed += sum(each.answer_delay_s for each in self.world.exchanges.values())
        if end - begun > allowed:
            self.fault(
                "quota",
                f"{size} B within the quota take {end - begun:.2f} s ({allowed:.2f} allowed): "
                f"{exchange}",
                exchange.number,
            )

    def _steady(self, exchange: Exchange, begun: float, end: float) -> None:
        way, world = exchange.down, self.world
        start = max(begun, way.arrivals[0][0])
        then = self.then_at(exchange, end, begun)
        at = end
        while at > start:  # since when it says that
            if not _same(self.then_at(exchange, at, begun), then):
                break
            at -= 0.1
        start = max(start, at + 1.2)
        if end - start < 1.5 or any(start - 1.0 < since < end for since, _ in world.policies[1:]):
            return
        if then is not None and (
            then.stall or then.quota or then.as_ == "policer" or then.block is not None
        ):
            return
        busy = sum(
            1
            for each in world.exchanges.values()
            if each.asked_at is not None
            and each.asked_at < end
            and (
                not each.is_over or max(each.down.complete_at or 0, each.down.lost_at or 0) > start
            )
        )
        net = self._net_bytes_per_s(exchange) / max(1, busy)
        may = (
            min((limit.limit_bytes_per_s for limit in then.rate), default=math.inf)
            if then
            else math.inf
        )
        if then is not None:
            for limit in then.rate:
                if limit.per != "response":
                    may = min(may, 0.85 * limit.limit_bytes_per_s / busy)
        rate = min(may, net)
        got = sum(size for t, size in way.arrivals if start <= t <= end)
        allowed = 0.97 * rate * (end - start) - 0.16 * rate - (70_000 if rate > 500_000 else 3000)
        if got < allowed:
            self.fault(
                "goodput",
                f"{got} B in the last {end - start:.2f} s, {got / (end - start):.0f} B/s where it "
                f"may have {rate:.0f}: {exchange}; {_said(then)}",
                exchange.number,
            )

    # -- effects that have a place

    def _places(self) -> None:
        """A delay before the first byte, silence where it stalls, nothing behind a cut."""
        world = self.world
        if world.suspended or world.throttle is None:
            return
        for exchange in world.exchanges.values():
            bound = self._bound(exchange) if exchange.kind == "http" else None
            if bound is None or exchange.harm or not self._fair(exchange):
                continue
            if self._within_quota(exchange) or any(t.quota for t in self.thens(exchange)):
                continue
            since, until = bound
            way, got = exchange.down, 0
            first = self.then_at(exchange, since, since)
            if way.began_at is not None and first is not None and way.began_at < until:
                delay = first.delay
                fixed = delay.mean_s if delay is not None and not delay.jitter_s else 0.0
                if (
                    fixed
                    and way.began_at - since < 0.99 * fixed
                    and not self._edited(exchange, "delay", "then", "rule", "stages", "block")
                ):
                    self.fault(
                        "delay", f"{way.began_at - since:.3f} s before {exchange}", exchange.number
                    )
            for at, size in way.arrivals:
                if at > until:
                    break
                then, before = (
                    self.then_at(exchange, at, since),
                    self.then_at(exchange, at - 0.3, since),
                )
                got += size
                if then is None or before is None or then.cut is None or then.cut != before.cut:
                    continue
                if (
                    got > then.cut.after_bytes
                    and at - 0.3 > since
                    and got - size <= then.cut.after_bytes
                ):
                    self.fault(
                        "cut",
                        f"{got} B, cut after {then.cut.after_bytes}: {exchange}",
                        exchange.number,
                    )

    # -- starts

    def _starts(self) -> None:
        """Never more than the limit in any window."""
        world = self.world
        if world.suspended or world.wall_was_set:
            return
        starts: defaultdict[tuple[int, str, int, float, str], list[float]] = defaultdict(list)
        for exchange in world.exchanges.values():
            bound = self._bound(exchange) if exchange.kind == "http" else None
            if bound is None or exchange.down.began_at is None or not self._fair(exchange):
                continue
            if self._edited(exchange, "requests", "then", "rule") or world.commands:
                continue
            number = rule_number(exchange.host)
            then = self.then_at(exchange, bound[0], bound[0])
            if then is None or number is None or exchange.down.began_at > bound[1]:
                continue
            if then.quota is not None or any(each.startswith("origin") for each in exchange.harm):
                continue  # within it nobody waits, nor does what is left of a dead origin
            opened = world.clients[exchange.client]
            party = {
                "client": str(opened.end.get_extra_info("peername")[0]),
                "host": exchange.host,
                "connection": str(exchange.client),
            }
            for limit in then.requests:
                key = (number, limit.per, limit.count, limit.period_s, party.get(limit.per, ""))
                starts[key].append(exchange.down.began_at - opened.net.latency_s)
        for (number, per, count, period_s, _), times in starts.items():
            times.sort()
            for first, later in zip(times, times[count:], strict=False):
                if later - first < period_s * 0.98 - 0.01:
                    self.fault(
                        "starts",
                        f"rule {number}: more than {count} starts (per {per}) in "
                        f"{later - first:.2f} s of {period_s} s",
                        (number, per),
                    )

    # -- records, and what is left

    def before_client_goes(self, opened: Opened) -> None:
        if opened.client.gone or self.world.stopped_at is not None:
            return
        if all(exchange.is_over for exchange in opened.asked):
            for text in probe.left_in(opened.handler):
                self.fault("left", f"{text} (client {opened.number})", text.split(" ", 1)[1])

    def all_gone(self, handlers: list[weakref.ref[ProxyConnectionHandler]]) -> None:
        world = self.world
        if world.throttle is not None:
            for text in [] if self._stalls_relays() else probe.leftovers(world.throttle):
                self.fault("left", text, text.split("(")[0])
            self._records()
        for text in world.errors.crashes:
            self.fault("crash", text, text)

    def _stalls_relays(self) -> bool:
        """A relayed peer that goes in silence may still listen; that is noticed when something is
        written to it, which a long stall puts off."""
        return any(
            exchange.kind in ("relay", "tcp", "upgrade")
            and any(then.stall and then.stall.for_s > 60 for then in self.thens(exchange))
            for exchange in self.world.exchanges.values()
        )

    def _records(self) -> None:
        seen = self.world.seen
        assert seen is not None
        if self._stalls_relays():
            return
        begun = Counter((each.flow_id, each.kind, each.direction) for each in seen.begun)
        ended = Counter((each.flow_id, each.kind, each.direction) for each in seen.ends)
        for key, count in begun.items():
            if ended[key] != count:
                self.fault("record", f"{count} begun and {ended[key]} ended: {key}", key[1:])
        for key, count in ended.items():
            if count > 1:
                self.fault("record", f"{count} records of one body: {key}", key[1:])
        for record in seen.ends:
            exchange = self.world.find(record.path)
            if (
                exchange is not None
                and exchange.kind == "http"
                and record.kind in ("response", "upload")
            ):
                self._record(record, exchange)

    def _record(self, record: probe.Ended, exchange: Exchange) -> None:
        way = exchange.down if record.direction == "down" else exchange.up
        excuses = self.excuses(exchange)
        about = f"{record.kind} `{record.outcome}`, {record.sent_bytes} B: {exchange}"
        key = (exchange.number, record.kind, record.outcome)
        match record.outcome:
            case "complete":
                if self._is_origins(exchange) or record.direction == "up":
                    whole = exchange.framing != "eof" or not exchange.harm
                    if record.sent_bytes != len(way.expected) and whole:
                        self.fault("record", f"untrue bytes of {about}", key)
                    if "proxy stops" in exchange.harm and record.rule and not record.passing:
                        begun = self.begun(exchange, record.direction)
                        stop = self.world.stopped_at or 0.0
                        then = self.then_at(exchange, stop, begun.at) if begun else None
                        left = len(way.expected) - sum(n for t, n in way.arrivals if t <= stop)
                        rates = [limit.limit_bytes_per_s for limit in then.rate] if then else []
                        if rates and left > min(rates) and record.direction == "down":
                            self.fault(
                                "record", f"{left} B were left, so it was stopped: {about}", key
                            )
                if way.complete_at is None and not excuses:
                    self.fault("record", f"nobody has got it all: {about}", key)
            case "client-gone":
                if not any(
                    each.startswith(("client", "addon", "timeout", "proxy", "origin"))
                    for each in excuses
                ):
                    self.fault("record", f"the client has not gone: {about}", key)
            case "origin-gone":
                if not any(
                    each.startswith(("origin", "no origin", "addon", "timeout", "proxy", "client"))
                    for each in excuses
                ):
                    self.fault("record", f"the origin has not gone: {about}", key)
            case "cut":
                if "cut" not in excuses:
                    self.fault("record", f"no rule cuts: {about}", key)
            case "blocked":
                if "block" not in excuses:
                    self.fault("record", f"no rule blocks: {about}", key)
            case "stopped":
                if self.world.stopped_at is None and not any(
                    e.startswith("addon") for e in excuses
                ):
                    self.fault("record", f"nothing was stopped: {about}", key)
        down = record.direction == "down"
        told_less = exchange.down.got > record.sent_bytes and record.outcome != "stopped"
        if down and self._is_origins(exchange) and told_less:
            self.fault("record", f"more was got than sent: {about}", key)
        whole = exchange.down.complete_at is not None and not exchange.harm
        ended_early = record.outcome not in ("complete", "blocked", "cut", "stopped")
        if down and whole and ended_early and not record.passing:
            self.fault("record", f"its client got it all: {about}", key)

    def done(self, tasks_left: int) -> None:
        """The proxy has stopped."""
        world = self.world
        if tasks_left and not self._stalls_relays():
            self.fault("left", f"{tasks_left} connections are still handled after the end")
        world.clients.clear()
        world.origins.clear()
        if world.seed % 4 > 1:
            return  # half of the time of a short run is the search for what lives on
        for exchange in world.exchanges.values():
            exchange.cancel = exchange.origin_cancel = None
        gc.collect()
        flows = sum(1 for flow in world.wiring.flows if flow() is not None)
        if flows > LINGERING and not tasks_left:
            self.fault("left", f"{flows} flows live on")
        if world.seen is not None:
            bodies = sum(1 for each in world.seen.begun if each.body() is not None)
            if bodies > LINGERING and not tasks_left:
                self.fault("left", f"{bodies} bodies live on")


def _rule(policy: Policy, number: int) -> Rule | None:
    name = f"rule {number}"
    return next((rule for rule in policy.rules if rule.name == name), None)


def _moments(then: Then) -> list[float]:
    """A moment in each stage, and one after the last."""
    at, found = 0.0, []
    for stage in then.stages[:12]:
        found.append(at + 1e-6)
        at += stage.for_s if stage.for_s is not None else 0.0
    return [*found, at + 1e-6] if then.stages else []


def _same(one: Then | None, other: Then | None) -> bool:
    return one is other or (one is not None and other is not None and one.rate == other.rate)


def _burst(then: Then, rate: float) -> float:
    if then.burst is not None:
        return float(then.burst)
    return rate * (POLICER_BURST_S if then.as_ == "policer" else DEFAULT_BURST_S)


def _said(then: Then | None) -> str:
    return "all it wants" if then is None else then.describe()
