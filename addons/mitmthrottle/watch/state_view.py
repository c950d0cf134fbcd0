"""From what is kept to what a reader gets: the JSON of `/api/state`.

Rule: worked out only when somebody asks, in a few milliseconds whatever the policy's size, and
nobody gets another client's traffic who is not trusted with it.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mitmthrottle.policy import Exchange
from mitmthrottle.policy.exchange import plain_address
from mitmthrottle.policy.language.outside import cut, shown
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.bodies.body import Body

from . import state_json as shape
from .members_seen import Members
from .state import Live, Row
from .state_rules import MOST_LISTED, RuleStates
from .state_samples import EVERY_S, KEPT, Samples
from .state_why import Reasons

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
        live: Live,
        samples: Samples,
        listens: Callable[[], list[str]],
        device_of: Callable[[tuple[str, str]], str | None],
        members: Members,
    ) -> None:
        self.start = secrets.token_hex(4)
        self._throttle = throttle
        self._live = live
        self._samples = samples
        self._listens = listens
        self._device_of = device_of
        self._members = members
        self._reasons = Reasons(self._might_match, lambda: throttle.control.policy)
        self._rules = RuleStates(throttle, live, samples)
        self._began = time.monotonic()

    def state(self, reading: Reading) -> shape.State:
        active = self._throttle.engine.active() if self._throttle.engine else []
        seen = [
            body for body in active if body.rule and reading.may_see(body.exchange.client_address)
        ]
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
            "rules": self._rules.states(active, reading.since),
            "active": [self._body(body) for body in seen[:MOST_ACTIVE]],
            "clients": self._clients(active, reading),
            "decisions": self._decisions(reading),
            "hosts_seen": _most(live.hosts) if reading.trusted else [],
            "hosts_wanted": self._rules.hosts_wanted(),
            "untrusting": _most(live.untrusting) if reading.trusted else [],
            "hint": self._hint(),
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
        members = self._members.states(store, trusted=reading.trusted)
        return {
            "address": str(store.address) if reading.trusted else None,
            "processes": store.parts.processes,
            "away_s": store.away_s,
            "meanwhile": store.down,
            "members": members,
            "members_there": self._members.count(),
            "same_policy": not any(each["other_policy"] for each in members or ()),
        }

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
            "rules": len(self._rules.of_file()),
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

    def _hint(self) -> shape.Hint | None:
        live = self._live
        if not self._rules.of_file():
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
        "path": "" if exchange.opaque else cut(exchange.path, LONGEST_PATH),
    }


def _most(counter: Counter[str]) -> list[shape.HostCount]:
    return [{"host": host, "requests": count} for host, count in counter.most_common(MOST_LISTED)]
