"""Prints the JSON Schema of policy files, for editors: `python -m mitmthrottle.policy.jsonschema`.

The one rule: the schema is made from the model, never edited; `policy.schema.json` is its output.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mitmthrottle.policy.schema import Policy

# What an editor shows beside a key; docs/policy.md says the rest.
_HELP: dict[str, dict[str, str]] = {
    "Policy": {
        "version": "1, the only version there is",
        "name": "a word for logs and lists; a shipped policy's is its file's",
        "description": "one line: what is slowed, for whom",
        "sources": "where the figures come from",
        "seed": "everything random derives from it (default: the name)",
        "defaults": "`burst` and `per` of rules that say none",
        "hosts": "named groups of hosts, to be used in rules",
        "clients": "named groups of clients, to be used in rules",
        "rules": "the first rule that matches wins; no match: untouched",
    },
    "Rule": {
        "name": "what logs and `explain` call it",
        "when": "all conditions given must hold; none: everything",
        "then": "what happens",
    },
    "When": {
        "host": "`a.com`, `.a.com` (and subdomains), `*.a.com` (only those), `~regex`, or a group",
        "path": "glob or `~regex`, of path and query",
        "method": "of the request",
        "scheme": "`http` or `https`",
        "port": "of the server",
        "status": "`404`, `5xx`, `500-503`",
        "content": "`photo`, `video`, `audio`, `websocket`, or a MIME glob",
        "size": "of the body: `>= 100 KiB`, `>= 1 MB, < 2 MB`",
        "client": "by address, device, user_agent or user; or a group",
        "header": "of the request: name to glob or `~regex`",
        "share": "`50%` of the clients, or `{of: responses, percent: 10}`",
        "active": "when: days and hours, from and until, after and for",
    },
    "Then": {
        "like": "a preset's rate, upload and delay: `wpt/3gslow`",
        "rate": "`128 kbit/s`, `{limit: 2 Mbit/s, per: client}`, or a list: all must agree",
        "burst": "what may pass at once after idling (default: 100 ms of the rate)",
        "as": "`shaper` (smooth) or `policer` (bursts and silence)",
        "delay": "before the first byte",
        "stall": "the body stops for a while",
        "cut": "the body ends early",
        "block": "a status from 400 to 599, `reset` or `timeout`",
        "requests": "how many responses may start: `10 / min`; the others wait",
        "quota": "so much at full speed, then the other effects",
        "stages": "effects that change with time",
        "trace": "a CSV file of rates over time, repeated",
        "from": "what `stages` and `trace` count from",
        "upload": "the same for the request's body",
        "pass": "an exception: matched, and left alone",
    },
}


def schema() -> dict[str, Any]:
    """The schema with a line of help for each key."""
    made = Policy.json_schema()
    for name, keys in _HELP.items():
        properties = (made if name == "Policy" else made["$defs"][name])["properties"]
        for key, text in keys.items():
            properties[key].pop("title", None)
            properties[key]["description"] = text
    return made


def schema_text() -> str:
    """What `policy.schema.json` holds."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
