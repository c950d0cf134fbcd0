"""`throttle.why FLOW`: why a flow was slowed, or why not.

Rule: what was done is told from the flow's own record, so that it can be told of saved flows too;
what each rule says of it comes from `explain`, which asks what the proxy asks.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import command, flow, http, tcp

from mitmthrottle.explanation import as_text, explain_exchange
from mitmthrottle.policy import FIRST_BYTES, Exchange, Policy
from mitmthrottle.policy.language.units import format_duration, format_rate
from mitmthrottle.proxy.facts import exchange_of
from mitmthrottle.proxy.mark import METADATA_KEY, shown
from mitmthrottle.proxy.snapshot import Observed

PARTS = {"upload": "upload", "down": "to the client", "up": "to the server"}
LEFT_ALONE = "it was not slowed; the policy in force now says:"
OF_RESPONSES = "a share of responses is drawn for each anew, so it may have been in or out"


class Why:
    """The command."""

    def __init__(self, throttle: Observed) -> None:
        self._throttle = throttle

    @command.command("throttle.why")  # type: ignore[untyped-decorator]  # mitmproxy's own
    def why(self, flow: flow.Flow) -> str:
        """Why this flow was slowed, or why not, rule by rule."""
        engine = self._throttle.snapshot().engine
        if engine is None:
            return why(flow, None, None)
        return why(flow, engine.policy, engine.policy_started_unix)


def why(flow: flow.Flow, policy: Policy | None, policy_started: float | None) -> str:
    """Some lines of text. `policy_started` is in Unix seconds; None: at the flow's own time."""
    lines = _done_to(flow)
    if policy is None:
        return "\n".join([*lines, "no policy is in force now"])
    exchange = _exchange_of(flow, policy_started)
    if exchange is None:
        return f"a {type(flow).__name__} is never slowed"
    answer = explain_exchange(policy, exchange)
    if answer["rule"] != _record(flow).get("rule"):
        lines.append(LEFT_ALONE if not lines else "by now the policy would do something else:")
    lines.append(as_text(answer))
    if any(
        rule.when.share is not None and rule.when.share.of == "responses" for rule in policy.rules
    ):
        lines.append(OF_RESPONSES)
    return "\n".join(lines)


def _record(flow: flow.Flow) -> dict[str, Any]:
    record = flow.metadata.get(METADATA_KEY)
    return record if isinstance(record, dict) else {}


def _done_to(flow: flow.Flow) -> list[str]:
    record = _record(flow)
    if "rule" not in record:
        return []
    lines = [f"slowed by `{record['rule']}` (line {record.get('line')} of the policy)"]
    if "outcome" in record:
        lines.append(_figures("", record))
    lines += [_figures(f"{name}: ", record[part]) for part, name in PARTS.items() if part in record]
    if len(lines) == 1:
        lines.append("still under way")
    return lines


def _figures(name: str, found: dict[str, Any]) -> str:
    asked, measured = found.get("asked_bytes_per_s"), found.get("measured_bytes_per_s")
    took_s, waited_s = found.get("duration_s") or 0.0, found.get("waited_s") or 0.0
    parts = (
        f"asked {format_rate(asked)}" if asked else "no rate asked",
        f"measured {format_rate(shown(measured))}" if measured else "too short to be measured",
        f"{found.get('bytes')} bytes in {format_duration(shown(took_s))}",
        f"held back for {format_duration(shown(waited_s))} ({found.get('outcome')})",
    )
    return name + ", ".join(parts)


def _exchange_of(flow: flow.Flow, policy_started: float | None) -> Exchange | None:
    """The facts as they were when the flow was decided on."""
    if isinstance(flow, http.HTTPFlow):
        seen = flow.response or flow.request
        at = seen.timestamp_start or flow.timestamp_created
        exchange = exchange_of(flow, 0, 0.0)
        body = flow.response.raw_content if flow.response else None
        if body is not None:  # as it was collected, or saved
            exchange = exchange._replace(
                first_bytes=body[:FIRST_BYTES], seen=len(body), complete=True
            )
    elif isinstance(flow, tcp.TCPFlow):
        at = flow.timestamp_created
        exchange = _opaque(flow)
    else:
        return None
    return exchange._replace(time=at, elapsed_s=max(0.0, at - (policy_started or at)))


def _opaque(flow: tcp.TCPFlow) -> Exchange:
    address = flow.server_conn.address
    name = flow.client_conn.sni
    return Exchange(
        host=name or (address[0] if address else ""),
        scheme="https" if name else "tcp",
        port=address[1] if address else 0,
        client_address=flow.client_conn.peername[0] if flow.client_conn.peername else None,
        opaque=True,
    )
