"""What a slowed flow says of itself in mitmproxy, mitmweb, saved flows and HAR files.

Rule: a flow is marked if and only if a rule has slowed it.
"""

from __future__ import annotations

from pathlib import Path

from mitmproxy import ctx
from mitmproxy.flow import Flow
from mitmproxy.hooks import UpdateHook

from mitmthrottle.policy import Rule
from mitmthrottle.policy.language.units import format_duration, format_rate

from .record import Record

MARKER = ":turtle:"
METADATA_KEY = "mitmthrottle"


class Marks:
    """Writes metadata, comment and marker, and lets mitmproxy show them."""

    def __init__(self) -> None:
        self.path: Path | None = None  # of the policy

    def begun(self, flow: Flow, rule: Rule) -> None:
        """A rule holds for it."""
        flow.marked = MARKER
        flow.comment = self._said(rule)
        flow.metadata.setdefault(METADATA_KEY, {}).update(rule=rule.name, line=rule.line)

    def ended(self, flow: Flow, rule: Rule, record: Record) -> None:
        """Add what was measured.  Only plain values: flows are saved to files.

        The response's figures stand at the top; those of the other bodies of the same flow
        (`upload`; `down` and `up` of a WebSocket or an opaque connection) under their names.
        """
        entry = flow.metadata.setdefault(METADATA_KEY, {})
        entry.setdefault("rule", rule.name)
        entry.setdefault("line", rule.line)
        figures = {
            "asked_bytes_per_s": record.asked_bytes_per_s,
            "measured_bytes_per_s": record.measured_bytes_per_s,
            "bytes": record.sent_bytes,
            "waited_s": record.waited_s,
            "duration_s": record.duration_s,
            "outcome": record.outcome,
            "version": record.version,
        }
        if record.kind == "response":
            entry.update(rule=rule.name, line=rule.line, **figures)
        else:
            entry[_part(record)] = figures
        flow.marked = MARKER
        flow.comment = "; ".join([self._said(rule), *_figures_of(entry)])
        if record.kind != "response":  # behind its end, mitmproxy itself tells of a change
            ctx.master.addons.trigger(UpdateHook([flow]))

    def _said(self, rule: Rule) -> str:
        file = self.path.name if self.path else ""
        return f"slowed by `{rule.name}` ({file}:{rule.line}): {rule.then.describe()}"


def _part(record: Record) -> str:
    return "upload" if record.kind == "upload" else record.direction


def _figures_of(entry: dict[str, object]) -> list[str]:
    """What is known of each body of the flow so far, the response's first."""
    parts = [("", entry), *((name, entry.get(name)) for name in ("upload", "down", "up"))]
    return [
        _figures(name, found)
        for name, found in parts
        if isinstance(found, dict) and "outcome" in found
    ]


def _figures(name: str, found: dict[str, object]) -> str:
    said = f"{name}: " if name else ""
    measured, duration_s = found["measured_bytes_per_s"], found["duration_s"]
    if isinstance(measured, float):
        said += f"measured {format_rate(shown(measured))}; "
    if isinstance(duration_s, float):
        took = format_duration(shown(duration_s))
        said += f"{found['bytes']} bytes in {took} ({found['outcome']})"
    return said


def shown(measured: float) -> float:
    """Four digits of something measured: more would promise too much."""
    return float(f"{measured:.4g}")
