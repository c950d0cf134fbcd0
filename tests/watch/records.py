"""Records as the throttle makes them, for tests of those who are told of them."""

from __future__ import annotations

from typing import Any

from mitmthrottle.policy import Exchange, Rule, parse_policy
from mitmthrottle.proxy.bodies.record import Record


def rule(name: str = "photos", then: str = "rate: 8 kB/s") -> Rule:
    policy = parse_policy(
        f"version: 1\nname: test\nrules:\n  - name: {name}\n    then: {{{then}}}\n", "policy.yaml"
    )
    return policy.rules[0]


def record(**facts: Any) -> Record:
    """A slowed photo; `facts` are fields of the record that are to be others."""
    exchange = Exchange(
        host="a.slow.example",
        path="/p.jpg?size=large",
        status=200,
        content_type="image/jpeg",
        client_address="198.18.0.7",
        time=1000.5,
    )
    usual: dict[str, Any] = {
        "kind": "response",
        "direction": "down",
        "flow_id": "f1",
        "time": 1000.5,
        "exchange": exchange,
        "rule": rule(),
        "asked_bytes_per_s": 8000.0,
        "measured_bytes_per_s": 7990.123456,
        "sent_bytes": 20_000,
        "waited_s": 2.4,
        "duration_s": 2.5,
        "outcome": "complete",
        "version": "0123456789ab",
    }
    return Record(**{**usual, **facts})
