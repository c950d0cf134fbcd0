"""What the live page knows: decisions, tallies by rule and client, devices, errors, the policy in
force.

Rule: it only counts and keeps what it is told, bounded in everything: so many of each, and each of
bounded length since it came in (proxy/facts.py); what it means is worked out when somebody asks
(view.py).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mitmproxy import http

from mitmthrottle.policy import Decision, Exchange, Policy, PolicyError, Rule, WhyNot
from mitmthrottle.policy.detect.devices import device_of
from mitmthrottle.policy.exchange import plain_address
from mitmthrottle.policy.language.outside import shown
from mitmthrottle.proxy.observer import EndedBody, Observer
from mitmthrottle.proxy.record import BodySnapshot, Record

from .samples import JustEnded

MOST_ROWS = 200
MOST_CLIENTS = 200
MOST_HOSTS = 500
MOST_FAILURES = 20
LONGEST_FAILURE = 500
LONGEST_POLICY_BYTES = 256 * 1024
"""A longer file is not shown."""

LOOKED_AT_S = 60.0
"""For so long after somebody has looked, unmatched responses are kept too; nobody else should
pay for them."""
MOST_UNMATCHED = 20
"""So many of them from one tick to the next, a second or so: more cannot be read, and the proxy
should not be slower for being looked at."""


@dataclass(slots=True)
class Tally:
    """Of one rule."""

    matched: int = 0
    ended_bytes: int = 0
    """of bodies that have ended; those under way are in a snapshot"""


@dataclass(slots=True)
class ClientTally:
    """Of one client: an address, and the user who authenticated."""

    address: str
    user: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    """of its newest request; read when somebody asks"""
    decided: int = 0
    matched: int = 0
    ended_bytes: int = 0
    last: float = 0.0
    _user_agent: tuple[str, str] = ("", "")

    @property
    def user_agent(self) -> tuple[str, str]:
        """The last that it has named, with Sec-CH-UA-Mobile: what tells the device."""
        if user_agent := self.headers.get("user-agent"):
            self._user_agent = user_agent, self.headers.get("sec-ch-ua-mobile", "")
        return self._user_agent


@dataclass(slots=True)
class Row:
    """One response (or relayed connection), what was decided of it, and its end."""

    flow_id: str
    exchange: Exchange
    rule: Rule | None
    client: ClientTally
    undecided: str = ""
    """what is waited for, for people"""
    record: Record | None = None
    why: tuple[WhyNot, ...] | None = None
    """worked out once asked for"""
    would_match: str | None = None
    """likewise: the rule that holds by now, where none did then"""
    switched_off: str | None = None
    """likewise: the rule that would hold if nobody had switched it off"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The policy in force."""

    policy: Policy
    """with what commands have changed"""
    path: Path | None
    text: str | None
    """of its file, as it was when the policy came; None where it is too long"""
    reloads: int
    time: float


class PageState(Observer):
    """Told by the throttle; read by the page."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._looked_at = -math.inf
        self.wants_unmatched = False
        self._unmatched_left = 0
        self.loaded: Loaded | None = None
        self.refused: tuple[float, PolicyError] | None = None
        self.requests = 0
        self.matched = 0
        self.failed_count = 0
        self.failures: deque[tuple[float, str]] = deque(maxlen=MOST_FAILURES)
        self.rows: OrderedDict[str, Row] = OrderedDict()
        self.rules: dict[str, Tally] = {}
        self.clients: OrderedDict[tuple[str, str | None], ClientTally] = OrderedDict()
        self.hosts: Counter[str] = Counter()
        self.untrusting: Counter[str] = Counter()  # hosts whose clients refused our certificate
        self.just_ended = JustEnded()  # since the last sample

    # -- told by the page's addon

    def looked_at(self) -> None:
        """Somebody reads the page now."""
        if not self._is_looked_at:
            self._looked_at = self._now()
            self.tick()
        self._looked_at = self._now()

    def tick(self) -> None:
        """To be called now and then."""
        self.wants_unmatched = self._is_looked_at
        self._unmatched_left = MOST_UNMATCHED

    @property
    def _is_looked_at(self) -> bool:
        return self._now() - self._looked_at < LOOKED_AT_S

    def asked(self, host: str) -> None:
        """A request came: cheap, since every one does."""
        self.requests += 1
        if host in self.hosts or len(self.hosts) < MOST_HOSTS:
            self.hosts[host] += 1

    def distrusted(self, host: str) -> None:
        """A client has refused our certificate for this host."""
        if host in self.untrusting or len(self.untrusting) < MOST_HOSTS:
            self.untrusting[host] += 1

    # -- told by the throttle

    def policy_in_force(self, policy: Policy, path: Path | None, reloads: int) -> None:
        before = self.loaded
        if before is not None and (before.path, before.reloads) == (path, reloads):
            self.loaded = replace(before, policy=policy)  # a command has changed a rule
        else:
            self.loaded = Loaded(policy, path, _text(path), reloads, self._now())
            self.refused = None
        for row in self.rows.values():
            row.why = None

    def policy_refused(self, error: PolicyError) -> None:
        self.refused = (self._now(), error)

    def decided(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        row = self._row(flow.id, exchange)
        row.exchange, row.rule, row.why = exchange, decision.rule, None
        row.undecided = ""
        if decision.needs_first_bytes:
            row.undecided = "its first bytes will tell"
        elif decision.rule is None and decision.size_step is not None:
            row.undecided = "no rule yet: its size is not known"
        if decision.rule is not None:
            self._matched(row, decision.rule)
        else:
            self._unmatched_left -= 1
            self.wants_unmatched &= self._unmatched_left > 0

    def began(self, body: BodySnapshot) -> None:
        if body.kind in ("opaque", "websocket") and body.direction == "down" and body.rule:
            row = self._row(body.flow_id, body.exchange)
            row.rule = body.rule
            self._matched(row, body.rule)

    def ended(self, record: EndedBody) -> None:
        row = self.rows.get(record.flow_id)
        if row is not None and record.direction == "down":
            row.record, row.undecided = record.record(), ""
        if record.rule is None:
            return
        self._tally(record.rule).ended_bytes += record.sent_bytes
        client = row.client if row is not None else self._client(record.exchange)
        client.ended_bytes += record.sent_bytes
        client.last = self._now()
        self.just_ended.add(record)

    def failed(self, what: str) -> None:
        self.failed_count += 1
        self.failures.append((self._now(), shown(what, LONGEST_FAILURE)))

    def stopped(self) -> None:
        self.loaded = None
        self.refused = None

    # -- bounded in everything

    def _matched(self, row: Row, rule: Rule) -> None:
        self.matched += 1
        self._tally(rule).matched += 1
        row.client.matched += 1

    def _tally(self, rule: Rule) -> Tally:
        tally = self.rules.get(rule.name)
        if tally is None:
            tally = self.rules[rule.name] = Tally()
        return tally

    def _row(self, flow_id: str, exchange: Exchange) -> Row:
        row = self.rows.get(flow_id)
        if row is None:
            client = self._client(exchange)
            client.decided += 1
            client.headers = exchange.request_headers
            row = self.rows[flow_id] = Row(flow_id, exchange, None, client)
            if len(self.rows) > MOST_ROWS:
                self.rows.popitem(last=False)
        return row

    def _client(self, exchange: Exchange) -> ClientTally:
        key = (plain_address(exchange.client_address or ""), exchange.user)
        client = self.clients.get(key)
        if client is None:
            client = self.clients[key] = ClientTally(*key)
            if len(self.clients) > MOST_CLIENTS:
                self.clients.popitem(last=False)
        self.clients.move_to_end(key)
        client.last = self._now()
        return client


def _text(path: Path | None) -> str | None:
    try:
        if path is None or path.stat().st_size > LONGEST_POLICY_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # it has been replaced since it was loaded
        return None


MOST_KEPT = 1000

type UserAgent = tuple[str, str]
"""the User-Agent and the Sec-CH-UA-Mobile header"""


class Devices:
    """Remembers what was worked out."""

    def __init__(self) -> None:
        self._known: dict[UserAgent, str | None] = {}

    def known(self, agent: UserAgent) -> str | None:
        """None also where it is not worked out yet."""
        return self._known.get(agent)

    async def learn(self, agents: Iterable[UserAgent]) -> None:
        new = [agent for agent in agents if agent[0] and agent not in self._known]
        if not new:
            return
        if len(self._known) > MOST_KEPT:
            self._known.clear()
        self._known.update(await asyncio.to_thread(_devices, new))


def _devices(agents: list[UserAgent]) -> dict[UserAgent, str | None]:
    return {
        agent: device_of({"user-agent": agent[0], "sec-ch-ua-mobile": agent[1]}) for agent in agents
    }
