"""What a slowed flow says of itself, also in HAR files (`save.har`, `hardump`).

Rule: an entry gains the format's own `comment` and one custom field, `_mitmthrottle`; the rest is
mitmproxy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mitmproxy import http
from mitmproxy.addons.savehar import SaveHar
from mitmproxy.connection import Server

from .mark import METADATA_KEY

type FlowEntry = Callable[[SaveHar, http.HTTPFlow, set[Server]], dict[str, Any]]


def with_record(flow_entry: FlowEntry) -> FlowEntry:
    """mitmproxy's method, with what it leaves out."""

    def with_record_flow_entry(
        self: SaveHar, flow: http.HTTPFlow, servers_seen: set[Server]
    ) -> dict[str, Any]:
        entry = flow_entry(self, flow, servers_seen)
        if METADATA_KEY in flow.metadata:
            entry["comment"] = flow.comment
            entry["_mitmthrottle"] = flow.metadata[METADATA_KEY]
        return entry

    return with_record_flow_entry
