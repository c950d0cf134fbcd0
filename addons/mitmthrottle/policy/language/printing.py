"""A policy as text again: plain data to YAML that reads well.

The one rule: what the loader reads from the text is the data that was given. Short mappings and
lists stand on one line; a value is quoted unless it cannot be taken for anything but itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

WIDTH = 96
# A letter first (or a dot and a letter), so that it is no number; nothing that YAML has a use for.
_PLAIN = re.compile(r"\.?[A-Za-z](?:[A-Za-z0-9_./@%+ -]*[A-Za-z0-9_./@%+-])?")
_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]+)? ?(?:[A-Za-zµ][A-Za-z/]*|%)")
_EXPONENT = re.compile(r"[0-9.]+[eE][0-9]+")
_WORDS = frozenset({"true", "false", "null"})  # in any case
_SHORT = frozenset({("limit",), ("mean",)})  # mappings that their only value may stand for


def print_yaml(data: dict[str, Any]) -> str:
    """The text of a mapping: its keys in order, one block each."""
    return "\n".join(_mapping(_shortened(data), 0)) + "\n"


def _shortened(value: Any, key: str = "") -> Any:
    """Lists of one as that one, `{limit: x}` as `x`: as a person would write it."""
    if isinstance(value, dict):
        plain = {name: _shortened(item, name) for name, item in value.items()}
        return next(iter(plain.values())) if tuple(plain) in _SHORT else plain
    if isinstance(value, list | tuple):
        items = [_shortened(item) for item in value]
        return items[0] if len(items) == 1 and key != "rules" else items
    return value


def _mapping(data: dict[str, Any], indent: int) -> Iterator[str]:
    for key, value in data.items():
        start = f"{' ' * indent}{_scalar(key)}:"
        flow = _flow(value)
        if not _is_block(value) or (key != "rules" and len(start) + 1 + len(flow) <= WIDTH):
            yield f"{start} {flow}"
        elif isinstance(value, dict):
            yield start
            yield from _mapping(value, indent + 2)
        else:
            yield start
            yield from _list(value if isinstance(value, list) else [value], indent + 2)


def _list(items: list[Any], indent: int) -> Iterator[str]:
    for item in items:
        flow = _flow(item)
        if isinstance(item, dict) and item and indent + 2 + len(flow) > WIDTH:
            lines = list(_mapping(item, indent + 2))
            yield f"{' ' * indent}- {lines[0].lstrip()}"
            yield from lines[1:]
        else:
            yield f"{' ' * indent}- {flow}"


def _is_block(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items())
        return "{" + inside + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    plain = _PLAIN.fullmatch(text) or (_QUANTITY.fullmatch(text) and not _EXPONENT.match(text))
    if plain and text.lower() not in _WORDS:
        return text
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable() and char != "\ufeff":
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
