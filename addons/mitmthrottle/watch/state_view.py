"""From what is kept to what a reader gets: the JSON of `/api/state`.

Rule: worked out only when somebody asks, in a few milliseconds whatever the policy's size, and
nobody gets another client's traffic who is not trusted with it.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mitmthrottle.policy import Exchange, Rule
from mitmthrottle.policy.exchange import plain_address
from mitmthrottle.policy.stages import Timeline
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.held import Held

from . import state_json as shape
from .state import Live, Row
from .state_samples import EVERY_S, KEPT, Samples
from .state_why import Reasons

MOST_RULES = 200
MOST_ACTIVE = 100
MOST_DECISIONS = 60
MOST_LISTED = 20
LONGEST_PATH = 200


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
        live: Live,
        samples: Samples,
        listens: Callable[[], list[str]],
        device_of: Callable[[tuple[str, str]], str | None],
    ) -> None:
        self.start = secrets.token_hex(4)
        self._throttle = throttle
        self._live = live
        self._samples = samples
        self._listens = listens
        self._device_of = device_of
        self._reasons = Reasons(self._might_match)
        self._began = time.monotonic()

    def state(self, reading: Reading) -> shape.State:
        active = self._throttle.engine.active() if self._throttle.engine else []
        seen = [held for held in active if reading.may_see(held.exchange.client_address)]
        rules = self._file_rules()
        rates = self._samples.series.values()
        live = self._live
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
                "requests": live.requests,
                "matched": live.matched,
                "active": len(active),
                "failed": live.failed_count,
                "measured_bytes_per_s": sum(each.measured[-1] for each in rates if each.measured),
            },
            "samples": {"last": self._samples.last, "every_s": EVERY_S, "kept": KEPT},
            "rules": self._rules(rules, active, reading.since),
            "active": [self._body(held) for held in seen[:MOST_ACTIVE] if held.rule],
            "clients": self._clients(active, reading),
            "decisions": self._decisions(reading),
            "hosts_seen": _most(live.hosts) if reading.trusted else [],
            "hosts_wanted": self._wanted(rules),
            "untrusting": _most(live.untrusting) if reading.trusted else [],
            "hint": self._hint(rules),
            "failures": [
                {"time": when, "what": what if reading.trusted else "(another client's)"}
                for when, what in reversed(live.failures)
            ],
        }

    def policy_text(self, reading: Reading) -> str | None:
        """The file's text for those who may see it."""
        loaded = self._live.loaded
        return loaded.text if loaded and reading.trusted else None

    def _might_match(self, host: str) -> bool:
        engine = self._throttle.engine
        return engine is not None and engine.might_match_host(host)

    def _store(self, reading: Reading) -> shape.StoreState | None:
        store = self._throttle.engine.store if self._throttle.engine else None
        if store is None:
            return None
        return {
            "address": str(store.address) if reading.trusted else None,
            "processes": store.parts.processes,
            "away_s": store.away_s,
            "meanwhile": store.down,
        }

    # -- the policy and its rules

    def _file_rules(self) -> tuple[Rule, ...]:
        """As the file says, also those that are switched off."""
        policy = self._throttle.control.policy
        return policy.rules if policy and self._throttle.engine else ()

    def _policy(self, reading: Reading) -> shape.PolicyInForce | None:
        loaded, engine = self._live.loaded, self._throttle.engine
        if loaded is None or engine is None:
            return None
        refused = self._live.refused
        return {
            "name": loaded.policy.name,
            "description": loaded.policy.description,
            "version": engine.version,
            "file": loaded.path.name if loaded.path else None,
            "rules": len(self._file_rules()),
            "loaded": loaded.time,
            "reloads": loaded.reloads,
            "refused": refused
            and {
                "time": refused[0],
                "faults": [str(fault) for fault in refused[1].faults[:MOST_LISTED]]
                if reading.trusted
                else [],
            },
        }

    def _rules(
        self, rules: tuple[Rule, ...], active: list[Held], since: int
    ) -> list[shape.RuleState]:
        busy = Counter(held.rule.name for held in active if held.rule)
        under_way = Counter[str]()
        for held in active:
            if held.rule:
                under_way[held.rule.name] += held.gate.sent_bytes
        if len(rules) > MOST_RULES:  # those that have had something to do first
            known = self._live.rules
            rules = tuple(sorted(rules, key=lambda rule: rule.name not in known)[:MOST_RULES])
        in_force = {rule.name: rule for rule in self._in_force()} if rules else {}
        return [self._rule(rule, in_force.get(rule.name), busy, under_way, since) for rule in rules]

    def _in_force(self) -> tuple[Rule, ...]:
        loaded = self._live.loaded
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
        tally = self._live.rules.get(rule.name)
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

    def _wanted(self, rules: tuple[Rule, ...]) -> list[str]:
        found: dict[str, None] = {}
        for rule in rules:
            for pattern in self._patterns(rule) or ():
                found[pattern] = None
            if len(found) >= MOST_LISTED:
                break
        return list(found)[:MOST_LISTED]

    # -- what is under way, and was

    def _body(self, held: Held) -> shape.ActiveBody:
        gate, exchange, rule = held.gate, held.exchange, held.rule
        state: shape.Progress
        if gate.in_line:
            state = "waits its turn"
        elif not gate.head_sent:
            state = "delayed"
        else:
            state = "free" if held.rate_bytes_per_s is None else "paced"
        now = self._samples.rate_now(held)
        return {
            "id": f"{held.flow_id}/{held.direction}",
            "kind": held.kind,
            "direction": held.direction,
            "rule": rule.name if rule else "",
            "line": rule.line if rule else 0,
            **_asked_for(exchange),
            "bytes": gate.sent_bytes,
            "size_bytes": exchange.size,
            "asked_bytes_per_s": held.rate_bytes_per_s,
            "measured_bytes_per_s": gate.measured_bytes_per_s if now is None else now,
            "age_s": gate.opened_s_ago,
            "state": state,
        }

    def _clients(self, active: list[Held], reading: Reading) -> list[shape.ClientState]:
        busy: Counter[tuple[str, str | None]] = Counter()
        sent: Counter[tuple[str, str | None]] = Counter()
        for held in active:
            key = (plain_address(held.exchange.client_address or ""), held.exchange.user)
            busy[key] += 1
            sent[key] += held.gate.sent_bytes
        found: list[shape.ClientState] = []
        for key, client in reversed(self._live.clients.items()):
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
        for row in reversed(self._live.rows.values()):
            if reading.may_see(row.exchange.client_address):
                found.append(self._decided(row))
                if len(found) == MOST_DECISIONS:
                    break
        return found

    def _decided(self, row: Row) -> shape.Decided:
        exchange, record = row.exchange, row.record
        policy = self._live.loaded.policy if self._live.loaded else None
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

    def _hint(self, rules: tuple[Rule, ...]) -> shape.Hint | None:
        live = self._live
        if not rules:
            return {
                "kind": "no-policy",
                "text": "No policy is loaded, so nothing is slowed. Start the proxy with one: "
                "mitmthrottle run twitter-2021",
            }
        if live.matched:
            return None
        if live.untrusting and not live.requests:
            return {
                "kind": "untrusted",
                "text": "Clients come, but refuse the proxy's certificate: install its authority "
                "on the device, see the link below.",
            }
        if not live.requests:
            return {
                "kind": "no-traffic",
                "text": "No request has come through the proxy yet. Set it as HTTP and HTTPS "
                f"proxy in the browser or device: {', '.join(self._listens()) or 'see its log'}.",
            }
        if not any(self._might_match(host) for host in live.hosts):
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
        "path": "" if exchange.opaque else exchange.path[:LONGEST_PATH],
    }


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


def _most(counter: Counter[str]) -> list[shape.HostCount]:
    return [{"host": host, "requests": count} for host, count in counter.most_common(MOST_LISTED)]
