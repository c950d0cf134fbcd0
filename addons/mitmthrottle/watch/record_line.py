"""One record as other programs read it: a line of JSON.

Rule: field names are stable once shipped, quantities are in SI units, and every line has every
field. docs/record.md tells what each is.
"""

from __future__ import annotations

import json
from typing import Any

from mitmthrottle.proxy.record import Record

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def fields_of(record: Record) -> dict[str, Any]:
    """In the order of the documentation."""
    exchange = record.exchange
    rule = record.rule
    return {
        "time": round(record.time, 6),
        "kind": record.kind,
        "direction": record.direction,
        "flow": record.flow_id,
        "client": exchange.client_address,
        "user": exchange.user,
        "method": None if exchange.opaque else exchange.method,
        "scheme": exchange.scheme,
        "host": exchange.host,
        "port": exchange.port,
        "path": None if exchange.opaque else _valid(exchange.path),
        "content": record.content,
        "status": exchange.status,
        "rule": rule.name if rule else None,
        "line": rule.line if rule else None,
        "asked_bytes_per_s": record.asked_bytes_per_s,
        "measured_bytes_per_s": _digits(record.measured_bytes_per_s),
        "bytes": record.sent_bytes,
        "waited_s": round(record.waited_s, 6),
        "duration_s": round(record.duration_s, 6),
        "outcome": record.outcome,
        "version": record.version,
    }


def line_of(record: Record) -> bytes:
    """With its newline; ASCII only, so that no reader stumbles over what was in a URL."""
    return _ENCODER.encode(fields_of(record)).encode("ascii") + b"\n"


def _digits(rate_bytes_per_s: float | None) -> float | None:
    return None if rate_bytes_per_s is None else round(rate_bytes_per_s, 3)


def _valid(text: str) -> str:
    """Bytes that are no UTF-8 become U+FFFD: half a surrogate pair is no valid JSON for many."""
    return (
        text
        if text.isascii()
        else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )
