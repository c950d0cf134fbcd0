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
from mitmthrottle.policy.effects.stages import Timeline
from mitmthrottle.policy.exchange import plain_address
from mitmthrottle.policy.language.outside import cut, shown
from mitmthrottle.proxy.record import BodySnapshot, BodyState
from mitmthrottle.proxy.snapshot import Snapshot

from . import api as shape
from .peers import Peers
from .reasons import Reasons
from .samples import EVERY_S, KEPT, Samples
from .state import PageState, Row

MOST_ACTIVE = 100
MOST_DECISIONS = 60
LONGEST_PATH = 200
LONGEST_FAULT = 500
MOST_RULES = 200
MOST_LISTED = 20

_PROGRESS: dict[BodyState, shape.Progress] = {
    "waiting to start": "waits its turn",
    "delayed": "delayed",
    "paced": "paced",
    "unlimited": "free",
}


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
    """Makes it of a snapshot and of what was kept."""

    def __init__(
        self,
        page_state: PageState,
        samples: Samples,
        listens: Callable[[], list[str]],
        device_of: Callable[[tuple[str, str]], str | None],
        peers: Peers,
    ) -> None:
        self.start = secrets.token_hex(4)
        self._page_state = page_state
        self._samples = samples
        self._listens = listens
        self._device_of = device_of
        self._peers = peers
        self._reasons = Reasons()
        self._began = time.monotonic()

    def state(self, now: Snapshot, reading: Reading) -> shape.State:
        """The whole answer; `now` was taken a moment ago."""
        seen = [
            body
            for body in now.bodies
            if body.rule and reading.may_see(body.exchange.client_address)
        ]
        rates = self._samples.series.values()
        kept = self._page_state
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
            "policy": self._policy(now, reading),
            "store": self._store(now, reading),
            "totals": {
                "requests": kept.requests,
                "matched": kept.matched,
                "active": len(now.bodies),
                "failed": kept.failed_count,
                "measured_bytes_per_s": sum(each.measured[-1] for each in rates if each.measured),
            },
            "samples": {"last": self._samples.last, "every_s": EVERY_S, "kept": KEPT},
            "rules": self._rules(now, reading.since),
            "active": [self._body(body) for body in seen[:MOST_ACTIVE]],
            "clients": self._clients(now, reading),
            "decisions": self._decisions(now, reading),
            "hosts_seen": _most(kept.hosts) if reading.trusted else [],
            "hosts_wanted": _hosts_wanted(now),
            "untrusting": _most(kept.untrusting) if reading.trusted else [],
            "hint": self._hint(now),
            "failures": [
                {"time": when, "what": what if reading.trusted else "(another client's)"}
                for when, what in reversed(kept.failures)
            ],
        }

    def policy_text(self, reading: Reading) -> str | None:
        """The file's text for those who may see it."""
        loaded = self._page_state.loaded
        return loaded.text if loaded and reading.trusted else None

    def _store(self, now: Snapshot, reading: Reading) -> shape.StoreState | None:
        if now.engine is None or now.engine.store is None:
            return None
        store = now.engine.store
        members = self._peers.states(now.engine, store, now.file_policy, trusted=reading.trusted)
        return {
            "address": store.address if reading.trusted else None,
            "processes": store.processes,
            "away_s": store.away_s,
            "meanwhile": store.down,
            "members": members,
            "members_there": self._peers.count(),
            "same_policy": not any(each["other_policy"] for each in members or ()),
        }

    def _policy(self, now: Snapshot, reading: Reading) -> shape.PolicyInForce | None:
        loaded = self._page_state.loaded
        if loaded is None or now.engine is None:
            return None
        refused = self._page_state.refused
        return {
            "name": loaded.policy.name,
            "description": loaded.policy.description,
            "version": now.engine.version,
            "file": loaded.path.name if loaded.path else None,
            "rules": len(_rules_of_file(now)),
            "loaded": loaded.time,
            "reloads": loaded.reloads,
            "refused": refused
            and {
                "time": refused[0],
                "faults": [
                    shown(str(each), LONGEST_FAULT) for each in refused[1].problems[:MOST_LISTED]
                ]
                if reading.trusted
                else [],
            },
        }

    # -- rules

    def _rules(self, now: Snapshot, since: int) -> list[shape.RuleState]:
        """What each rule does now, with the samples newer than number `since`."""
        if now.engine is None:
            return []
        busy, sent = Counter[str](), Counter[str]()
        for body in now.bodies:
            if body.rule is not None:
                busy[body.rule.name] += 1
                sent[body.rule.name] += body.sent_bytes
        rules = _rules_of_file(now)
        if len(rules) > MOST_RULES:  # those that have had something to do first
            known = self._page_state.rules
            rules = tuple(sorted(rules, key=lambda rule: rule.name not in known)[:MOST_RULES])
        in_force = {rule.name: rule for rule in now.engine.policy.rules} if rules else {}
        found: list[shape.RuleState] = []
        for rule in rules:
            name, elapsed_s = rule.name, now.engine.elapsed_s
            as_changed = in_force.get(name)
            override = now.overrides.get(name)
            tally = self._page_state.rules.get(name)
            patterns = _patterns(now, rule)
            when = rule.when.active
            found.append(
                {
                    "name": name,
                    "line": rule.line,
                    "effects": rule.then.describe(),
                    "says_now": _says(as_changed, elapsed_s) if as_changed else "switched off",
                    "hosts": None if patterns is None else patterns[:MOST_LISTED],
                    "stage": _stage(as_changed or rule, elapsed_s),
                    "in_force": when is None
                    or any(each.holds(time.time(), elapsed_s) for each in when),
                    "switched_off": override is not None and override.switched_off,
                    "changed": override is not None and override.changed,
                    "reverts_in_s": override.reverts_in_s if override is not None else None,
                    "active": busy[name],
                    "matched": tally.matched if tally else 0,
                    "bytes": (tally.ended_bytes if tally else 0) + sent[name],
                    **self._sampled(name, since),
                }
            )
        return found

    def _sampled(self, name: str, since: int) -> shape.Sampled:
        series = self._samples.series.get(name)
        if series is None:
            return {
                "asked_bytes_per_s": 0.0,
                "measured_bytes_per_s": 0.0,
                "asked": [],
                "measured": [],
            }
        news = min(KEPT, max(0, self._samples.last - since))
        return {
            "asked_bytes_per_s": series.asked[-1],
            "measured_bytes_per_s": series.measured[-1],
            "asked": _last(series.asked, news),
            "measured": _last(series.measured, news),
        }

    # -- what is under way, and was

    def _body(self, body: BodySnapshot) -> shape.ActiveBody:
        rule, rate_now = body.rule, self._samples.rate_now(body)
        return {
            "id": f"{body.flow_id}/{body.direction}",
            "kind": body.kind,
            "direction": body.direction,
            "rule": rule.name if rule else "",
            "line": rule.line if rule else 0,
            **_asked_for(body.exchange),
            "bytes": body.sent_bytes,
            "size_bytes": body.exchange.size,
            "asked_bytes_per_s": body.rate_bytes_per_s,
            "measured_bytes_per_s": body.measured_bytes_per_s if rate_now is None else rate_now,
            "age_s": body.age_s,
            "state": _PROGRESS[body.state],
        }

    def _clients(self, now: Snapshot, reading: Reading) -> list[shape.ClientState]:
        busy: Counter[tuple[str, str | None]] = Counter()
        sent: Counter[tuple[str, str | None]] = Counter()
        for body in now.bodies:
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

    def _decisions(self, now: Snapshot, reading: Reading) -> list[shape.Decided]:
        found: list[shape.Decided] = []
        for row in reversed(self._page_state.rows.values()):
            if reading.may_see(row.exchange.client_address):
                found.append(self._decided(now, row))
                if len(found) == MOST_DECISIONS:
                    break
        return found

    def _decided(self, now: Snapshot, row: Row) -> shape.Decided:
        exchange, record = row.exchange, row.record
        return {
            "id": row.flow_id,
            "time": exchange.time,
            **_asked_for(exchange),
            "status": exchange.status,
            "rule": row.rule.name if row.rule else None,
            "line": row.rule.line if row.rule else None,
            "reason": self._reasons.reason(row, now),
            "why_not": [
                {"rule": why.rule, "condition": why.condition, "reason": why.reason}
                for why in self._reasons.why_not(row, now)[:MOST_LISTED]
            ],
            "outcome": record.outcome if record else None,
            "bytes": record.sent_bytes if record else None,
            "asked_bytes_per_s": record.asked_bytes_per_s if record else None,
            "measured_bytes_per_s": record.measured_bytes_per_s if record else None,
        }

    # -- why nothing is slowed

    def _hint(self, now: Snapshot) -> shape.Hint | None:
        kept = self._page_state
        if now.engine is None or not _rules_of_file(now):
            return {
                "kind": "no-policy",
                "text": "No policy is loaded, so nothing is slowed. Start the proxy with one: "
                "mitmthrottle run twitter-2021",
            }
        if kept.matched:
            return None
        if kept.untrusting and not kept.requests:
            return {
                "kind": "untrusted",
                "text": "Clients come, but refuse the proxy's certificate: install its authority "
                "on the device, see the link below.",
            }
        if not kept.requests:
            return {
                "kind": "no-traffic",
                "text": "No request has come through the proxy yet. Set it as HTTP and HTTPS "
                f"proxy in the browser or device: {', '.join(self._listens()) or 'see its log'}.",
            }
        if not any(now.engine.decider.might_match_host(host) for host in kept.hosts):
            return {
                "kind": "other-hosts",
                "text": "Traffic comes, but no rule is for any of the hosts that were asked for.",
            }
        return {
            "kind": "conditions",
            "text": "Hosts that rules name were asked for, but another condition kept each rule "
            "from holding: see the decisions.",
        }


def _rules_of_file(now: Snapshot) -> tuple[Rule, ...]:
    """As the file says, also those that are switched off."""
    return now.file_policy.rules if now.file_policy is not None else ()


def _patterns(now: Snapshot, rule: Rule) -> list[str] | None:
    """The hosts that this rule is for, as the file writes them; None: any."""
    patterns = now.file_policy.host_patterns(rule) if now.file_policy is not None else None
    return None if patterns is None else [str(pattern) for pattern in patterns]


def _hosts_wanted(now: Snapshot) -> list[str]:
    """Some of the hosts that rules are for, as the file writes them."""
    found: dict[str, None] = {}
    for rule in _rules_of_file(now):
        for pattern in _patterns(now, rule) or ():
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


def _asked_for(exchange: Exchange) -> shape.AskedFor:
    return {
        "client": plain_address(exchange.client_address or ""),
        "method": exchange.method,
        "host": exchange.host,
        "path": "" if exchange.opaque else cut(exchange.path, LONGEST_PATH),
    }


def _most(counter: Counter[str]) -> list[shape.HostCount]:
    return [{"host": host, "requests": count} for host, count in counter.most_common(MOST_LISTED)]
