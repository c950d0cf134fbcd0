"""Prints the JSON Schema of policy files, for editors: `python -m mitmthrottle.policy.jsonschema`.

The one rule: the schema is made from the model, never edited; `policy.schema.json` is its output.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mitmthrottle.policy.conditions import CONDITIONS
from mitmthrottle.policy.effects import EFFECTS
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
    "When": {condition.key: condition.help for condition in CONDITIONS},
    "Then": {
        key.alias or name: key.help for effect in EFFECTS for name, key in effect.keys.items()
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
