"""What a slowed flow says of itself in mitmproxy, mitmweb and saved flows.

Rule: a flow is marked if and only if a rule has slowed it.
"""

from __future__ import annotations

from mitmproxy import http

from mitmthrottle.policy import Rule
from mitmthrottle.policy.units import format_duration, format_rate

from .gate import Gate
from .outcome import Outcome

MARKER = ":turtle:"
METADATA_KEY = "mitmthrottle"


def mark_start(flow: http.HTTPFlow, rule: Rule, policy_file: str) -> None:
    flow.marked = MARKER
    flow.comment = f"{_who(rule, policy_file)}: {rule.then.describe()}"
    flow.metadata.setdefault(METADATA_KEY, {}).update(rule=rule.name, line=rule.line)


def mark_end(flow: http.HTTPFlow, outcome: Outcome, policy_file: str) -> None:
    """Add what was measured.  Only plain values: flows are saved to files."""
    rule = outcome.rule
    measured = outcome.measured_bytes_per_s
    said = f"{_who(rule, policy_file)}: {rule.then.describe()}"
    if measured is not None:
        said += f"; measured {format_rate(measured)}"
    flow.marked = MARKER
    flow.comment = (
        f"{said}; {outcome.sent_bytes} bytes in {format_duration(outcome.duration_s)}"
        f" ({outcome.outcome})"
    )
    flow.metadata.setdefault(METADATA_KEY, {}).update(
        rule=rule.name,
        line=rule.line,
        asked_bytes_per_s=outcome.asked_bytes_per_s,
        measured_bytes_per_s=measured,
        bytes=outcome.sent_bytes,
        waited_s=outcome.waited_s,
        outcome=outcome.outcome,
    )


def mark_upload(flow: http.HTTPFlow, gate: Gate, outcome: str) -> None:
    """What was measured on the way up stands beside what is said of the response."""
    record = flow.metadata.setdefault(METADATA_KEY, {})
    record["upload"] = {
        "measured_bytes_per_s": gate.measured_bytes_per_s,
        "bytes": gate.sent_bytes,
        "waited_s": gate.waited_s,
        "outcome": outcome,
    }
    flow.marked = MARKER


def _who(rule: Rule, policy_file: str) -> str:
    return f"slowed by `{rule.name}` ({policy_file}:{rule.line})"
