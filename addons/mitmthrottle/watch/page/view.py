"""From what is kept to what a reader gets: the JSON of `/api/state`.

Rules: worked out only when somebody asks, in a few milliseconds whatever the policy's size, and
nobody gets another client's traffic who is not trusted with it.  All rules of the file are shown,
also those that a command has switched off; where there are too many, those that have had something
to do come first.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mitmthrottle.policy import Exchange, Rule
from mitmthrottle.policy.exchange import plain_address
from mitmthrottle.policy.outside import cut, shown
from mitmthrottle.policy.stages import Timeline
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.bodies.body import Body

from . import api as shape
from .peers import Peers
from .reasons import Reasons
from .samples import EVERY_S, KEPT, Samples
from .state import PageState, Row

MOST_ACTIVE = 100
MOST_DECISIONS = 60
LONGEST_PATH = 200
LONGEST_FAULT = 500


@dataclass(frozen=True, slots=True)
class Reading:
    """Who reads, and from which sample on."""

    address: str | None
    trusted: bool
    why_not: str | None
    token: str | None
    since: int = 0

    def may_see(self, address: str | None) -> bool:
        """Whether traffic of this client is the reader's to see."""
        if self.trusted:
            return True
        if self.address is None or address is None:
            return False
        return plain_address(self.address) == plain_address(address)


class View:
    """Looks at the throttle and at what was kept of it."""

    def __init__(
        self,
        throttle: Throttle,
        page_state: PageState,
        samples: Samples,
        listens: Callable[[], list[str]],
        device_of: Callable[[tuple[str, str]], str | None],
        peers: Peers,
    ) -> None:
        self.start = secrets.token_hex(4)
        self._throttle = throttle
        self._page_state = page_state
        self._samples = samples
        self._listens = listens
        self._device_of = device_of
        self._peers = peers
        self._reasons = Reasons(self._might_match, lambda: throttle.control.policy)
        self._rules = RuleStates(throttle, page_state, samples)
        self._began = time.monotonic()

    def state(self, reading: Reading) -> shape.State:
        active = self._throttle.engine.active() if self._throttle.engine else []
        seen = [
            body for body in active if body.rule and reading.may_see(body.exchange.client_address)
        ]
        rates = self._samples.series.values()
        page_state = self._page_state
        return {
            "start": self.start,
            "time": time.time(),
            "uptime_s": time.monotonic() - self._began,
            "proxy": self._listens(),
            "reader": {
                "address": reading.address,
                "sees": "everything" if reading.trusted else "own",
                "may_switch": reading.trusted,
                "why_not": reading.why_not,
                "token": reading.token,
            },
            "policy": self._policy(reading),
            "store": self._store(reading),
            "totals": {
                "requests": page_state.requests,
                "matched": page_state.matched,
                "active": len(active),
                "failed": page_state.failed_count,
                "measured_bytes_per_s": sum(each.measured[-1] for each in rates if each.measured),
            },
            "samples": {"last": self._samples.last, "every_s": EVERY_S, "kept": KEPT},
            "rules": self._rules.states(active, reading.since),
            "active": [self._body(body) for body in seen[:MOST_ACTIVE]],
            "clients": self._clients(active, reading),
            "decisions": self._decisions(reading),
            "hosts_seen": _most(page_state.hosts) if reading.trusted else [],
            "hosts_wanted": self._rules.hosts_wanted(),
            "untrusting": _most(page_state.untrusting) if reading.trusted else [],
            "hint": self._hint(),
            "failures": [
                {"time": when, "what": what if reading.trusted else "(another client's)"}
                for when, what in reversed(page_state.failures)
            ],
        }

    def policy_text(self, reading: Reading) -> str | None:
        """The file's text for those who may see it."""
        loaded = self._page_state.loaded
        return loaded.text if loaded and reading.trusted else None

    def _might_match(self, host: str) -> bool:
        engine = self._throttle.engine
        return engine is not None and engine.might_match_host(host)

    def _store(self, reading: Reading) -> shape.StoreState | None:
        store = self._throttle.engine.store if self._throttle.engine else None
        if store is None:
            return None
        members = self._peers.states(store, trusted=reading.trusted)
        return {
            "address": str(store.address) if reading.trusted else None,
            "processes": store.parts.processes,
            "away_s": store.away_s,
            "meanwhile": store.down,
            "members": members,
            "members_there": self._peers.count(),
            "same_policy": not any(each["other_policy"] for each in members or ()),
        }

    def _policy(self, reading: Reading) -> shape.PolicyInForce | None:
        loaded, engine = self._page_state.loaded, self._throttle.engine
        if loaded is None or engine is None:
            return None
        refused = self._page_state.refused
        return {
            "name": loaded.policy.name,
            "description": loaded.policy.description,
            "version": engine.version,
            "file": loaded.path.name if loaded.path else None,
            "rules": len(self._rules.of_file()),
            "loaded": loaded.time,
            "reloads": loaded.reloads,
            "refused": refused
            and {
                "time": refused[0],
                "faults": [
                    shown(str(each), LONGEST_FAULT) for each in refused[1].faults[:MOST_LISTED]
                ]
                if reading.trusted
                else [],
            },
        }

    # -- what is under way, and was

    def _body(self, body: Body) -> shape.ActiveBody:
        exchange, rule = body.exchange, body.rule
        state: shape.Progress
        if body.waits_to_start:
            state = "waits its turn"
        elif not body.headers_sent:
            state = "delayed"
        else:
            state = "free" if body.rate_bytes_per_s is None else "paced"
        now = self._samples.rate_now(body)
        return {
            "id": f"{body.flow_id}/{body.direction}",
            "kind": body.kind,
            "direction": body.direction,
            "rule": rule.name if rule else "",
            "line": rule.line if rule else 0,
            **_asked_for(exchange),
            "bytes": body.sent_bytes,
            "size_bytes": exchange.size,
            "asked_bytes_per_s": body.rate_bytes_per_s,
            "measured_bytes_per_s": body.measured_bytes_per_s if now is None else now,
            "age_s": body.age_s,
            "state": state,
        }

    def _clients(self, active: list[Body], reading: Reading) -> list[shape.ClientState]:
        busy: Counter[tuple[str, str | None]] = Counter()
        sent: Counter[tuple[str, str | None]] = Counter()
        for body in active:
            key = (plain_address(body.exchange.client_address or ""), body.exchange.user)
            busy[key] += 1
            sent[key] += body.sent_bytes
        found: list[shape.ClientState] = []
        for key, client in reversed(self._page_state.clients.items()):
            if not reading.may_see(client.address):
                continue
            found.append(
                {
                    "address": client.address,
                    "user": client.user,
                    "device": self._device_of(client.user_agent),
                    "active": busy[key],
                    "decided": client.decided,
                    "matched": client.matched,
                    "bytes": client.ended_bytes + sent[key],
                    "last": client.last,
                }
            )
        return found

    def _decisions(self, reading: Reading) -> list[shape.Decided]:
        found: list[shape.Decided] = []
        for row in reversed(self._page_state.rows.values()):
            if reading.may_see(row.exchange.client_address):
                found.append(self._decided(row))
                if len(found) == MOST_DECISIONS:
                    break
        return found

    def _decided(self, row: Row) -> shape.Decided:
        exchange, record = row.exchange, row.record
        policy = self._page_state.loaded.policy if self._page_state.loaded else None
        return {
            "id": row.flow_id,
            "time": exchange.time,
            **_asked_for(exchange),
            "status": exchange.status,
            "rule": row.rule.name if row.rule else None,
            "line": row.rule.line if row.rule else None,
            "reason": self._reasons.reason(row, policy),
            "why_not": [
                {"rule": why.rule, "condition": why.condition, "reason": why.reason}
                for why in self._reasons.why_not(row, policy)[:MOST_LISTED]
            ],
            "outcome": record.outcome if record else None,
            "bytes": record.sent_bytes if record else None,
            "asked_bytes_per_s": record.asked_bytes_per_s if record else None,
            "measured_bytes_per_s": record.measured_bytes_per_s if record else None,
        }

    # -- why nothing is slowed

    def _hint(self) -> shape.Hint | None:
        page_state = self._page_state
        if not self._rules.of_file():
            return {
                "kind": "no-policy",
                "text": "No policy is loaded, so nothing is slowed. Start the proxy with one: "
                "mitmthrottle run twitter-2021",
            }
        if page_state.matched:
            return None
        if page_state.untrusting and not page_state.requests:
            return {
                "kind": "untrusted",
                "text": "Clients come, but refuse the proxy's certificate: install its authority "
                "on the device, see the link below.",
            }
        if not page_state.requests:
            return {
                "kind": "no-traffic",
                "text": "No request has come through the proxy yet. Set it as HTTP and HTTPS "
                f"proxy in the browser or device: {', '.join(self._listens()) or 'see its log'}.",
            }
        if not any(self._might_match(host) for host in page_state.hosts):
            return {
                "kind": "other-hosts",
                "text": "Traffic comes, but no rule is for any of the hosts that were asked for.",
            }
        return {
            "kind": "conditions",
            "text": "Hosts that rules name were asked for, but another condition kept each rule "
            "from holding: see the decisions.",
        }


def _asked_for(exchange: Exchange) -> shape.AskedFor:
    return {
        "client": plain_address(exchange.client_address or ""),
        "method": exchange.method,
        "host": exchange.host,
        "path": "" if exchange.opaque else cut(exchange.path, LONGEST_PATH),
    }


def _most(counter: Counter[str]) -> list[shape.HostCount]:
    return [{"host": host, "requests": count} for host, count in counter.most_common(MOST_LISTED)]


MOST_RULES = 200
MOST_LISTED = 20


class RuleStates:
    """Looks at the policy in force, at commands and at samples."""

    def __init__(self, throttle: Throttle, page_state: PageState, samples: Samples) -> None:
        self._throttle = throttle
        self._page_state = page_state
        self._samples = samples

    def of_file(self) -> tuple[Rule, ...]:
        """As the file says, also those that are switched off."""
        policy = self._throttle.control.policy
        return policy.rules if policy and self._throttle.engine else ()

    def states(self, active: list[Body], since: int) -> list[shape.RuleState]:
        """What each rule does now, with the samples newer than number `since`."""
        rules = self.of_file()
        busy = Counter(body.rule.name for body in active if body.rule)
        under_way = Counter[str]()
        for body in active:
            if body.rule:
                under_way[body.rule.name] += body.sent_bytes
        if len(rules) > MOST_RULES:  # those that have had something to do first
            known = self._page_state.rules
            rules = tuple(sorted(rules, key=lambda rule: rule.name not in known)[:MOST_RULES])
        in_force = {rule.name: rule for rule in self._in_force()} if rules else {}
        return [self._rule(rule, in_force.get(rule.name), busy, under_way, since) for rule in rules]

    def _in_force(self) -> tuple[Rule, ...]:
        loaded = self._page_state.loaded
        return loaded.policy.rules if loaded else ()

    def _rule(
        self,
        rule: Rule,
        now: Rule | None,
        busy: Counter[str],
        under_way: Counter[str],
        since: int,
    ) -> shape.RuleState:
        control, engine = self._throttle.control, self._throttle.engine
        elapsed = engine.elapsed_s if engine else 0.0
        override = control.override_of(rule.name)
        series = self._samples.series.get(rule.name)
        news = min(KEPT, max(0, self._samples.last - since))
        tally = self._page_state.rules.get(rule.name)
        patterns = self._patterns(rule)
        when = rule.when.active
        return {
            "name": rule.name,
            "line": rule.line,
            "effects": rule.then.describe(),
            "says_now": _says(now, elapsed) if now else "switched off",
            "hosts": None if patterns is None else patterns[:MOST_LISTED],
            "stage": _stage(now or rule, elapsed),
            "in_force": when is None or any(each.holds(time.time(), elapsed) for each in when),
            "switched_off": override is not None and override.disabled,
            "changed": override is not None,
            "reverts_in_s": control.reverts_in_s(rule.name),
            "active": busy[rule.name],
            "matched": tally.matched if tally else 0,
            "bytes": (tally.ended_bytes if tally else 0) + under_way[rule.name],
            "asked_bytes_per_s": series.asked[-1] if series else 0.0,
            "measured_bytes_per_s": series.measured[-1] if series else 0.0,
            "asked": _last(series.asked, news) if series else [],
            "measured": _last(series.measured, news) if series else [],
        }

    def _patterns(self, rule: Rule) -> list[str] | None:
        policy = self._throttle.control.policy
        patterns = policy.host_patterns(rule) if policy else None
        return None if patterns is None else [str(pattern) for pattern in patterns]

    def hosts_wanted(self) -> list[str]:
        """Some of the hosts that rules are for, as the file writes them."""
        found: dict[str, None] = {}
        for rule in self.of_file():
            for pattern in self._patterns(rule) or ():
                found[pattern] = None
            if len(found) >= MOST_LISTED:
                break
        return list(found)[:MOST_LISTED]


def _says(rule: Rule, elapsed_s: float) -> str:
    """The stage that is in force, or all stages where each response counts its own."""
    if rule.then.from_ == "response":
        return rule.then.describe()
    return rule.then.at(elapsed_s)[0].describe()


def _stage(rule: Rule, elapsed_s: float) -> shape.Stage | None:
    then = rule.then
    if not then.stages or then.from_ == "response":
        return None
    index, until = Timeline(then.stages, then.stages_repeat).at(elapsed_s)
    return {
        "number": None if index is None else index + 1,
        "of": len(then.stages),
        "ends_in_s": until - elapsed_s if until < float("inf") else None,
    }


def _last[T](values: Iterable[T], count: int) -> list[T]:
    found = list(values)
    return found[-count:] if count else []
