"""YAML text to plain data, with the place of every key and value.

The one rule: nothing in the text can hurt. Events are read one by one, so nesting, aliases and
tags are bounded before anything is built from them; sizes are counted with aliases expanded.

Scalars are read as YAML 1.2 reads them (`yes`, `on` and `10:30` are texts). Merge keys (`<<`)
work; other tags than the standard ones do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.scanner import Scanner

from mitmthrottle.policy.language.syntax import explain_syntax

MOST_NODES = 1_000_000  # keys and values with aliases expanded; a rule has about fifteen
# What aliases may add: a policy that repeats a list in each rule needs little, a bomb all it gets.
FREE_EXPANSION = 100_000
EXPANSION = 4  # times what is written
DEEPEST = 32  # a policy is seven deep

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LINE_ENDS = frozenset("\r\n\x85\u2028\u2029\0")
_HALVES = re.compile("[\ud800-\udfff]")  # surrogates
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_STANDARD = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")
)

type Report = Callable[[int, int, str | Callable[[], str]], None]
type Step = str | int


@dataclass(slots=True, eq=False)
class Node:
    """A value and its place (from 1). `data` is plain; items and keys say where its parts are."""

    data: Any
    line: int
    column: int
    items: list[Node] | None = None
    keys: dict[str, tuple[Node, Node]] | None = None  # name -> (key, value)
    size: int = 1
    open: bool = field(default=False, repr=False)  # not read to its end yet
    merges: list[Node] = field(default_factory=list, repr=False)  # what its `<<` named

    def find(self, path: tuple[Step, ...], key: bool = False) -> Node:
        """The node at a path, or the nearest one above it; `key`: of the last step, its key."""
        node, name = self, self
        for step in path:
            if node.keys is not None and step in node.keys:
                name, node = node.keys[str(step)]
            elif node.items is not None and isinstance(step, int) and step < len(node.items):
                name = node = node.items[step]
        return name if key else node

    def walk(self) -> Iterator[tuple[Node, Node]]:
        """(key or item, value) of everything below, without recursion; shared parts once."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            pairs = [(item, item) for item in node.items or ()]
            pairs.extend((node.keys or {}).values())
            yield from pairs
            waiting.extend(value for _, value in pairs)


class _Scanner(Scanner):
    """Takes a tab within a line for the white space that it is (YAML 1.2, 6.2).

    In front of the first thing on a line it would be indentation, which tabs cannot be.
    """

    def scan_to_next_token(self) -> Any:
        found = super().scan_to_next_token()
        reader = self.reader
        while reader.peek() == "\t" and not self._is_indentation():
            reader.forward(self._white_ahead())
            found = super().scan_to_next_token()
        return found

    def scan_plain_spaces(self, indent: Any, start_mark: Any) -> Any:
        reader, length = self.reader, self._white_ahead()
        white = reader.prefix(length)
        if "\t" in white:
            reader.forward(length)
            if reader.peek() not in _LINE_ENDS:
                return [white]
        return super().scan_plain_spaces(indent, start_mark)

    def _white_ahead(self) -> int:
        length = 0
        while self.reader.peek(length) in ("\t", " "):
            length += 1
        return length

    def _is_indentation(self) -> bool:
        """Whether nothing is in front of this tab, and something behind it."""
        reader = self.reader
        before = reader.buffer[reader.pointer - reader.column : reader.pointer]
        behind = reader.peek(self._white_ahead())
        return not (self.flow_level or before.strip(" \t") or behind == "#" or behind in _LINE_ENDS)


class _Stop(Exception):
    """The rest of the text cannot be read; the reason has been reported."""


def read_tree(text: str, report: Report) -> Node | None:
    """The root of a text's only document; None when there is none or it cannot be read.

    All that is wrong goes to `report(line, column, message)`.
    """
    builder = _Builder(report)
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Scanner = _Scanner
        for event in yaml.parse(text):
            builder.take(event)
    except _Stop:
        return None
    except MarkedYAMLError as error:
        report(*explain_syntax(error, text))
        return None
    except YAMLError as error:
        report(1, 1, f"this is not YAML: {' '.join(str(error).split())}")
        return None
    except (ValueError, IndexError, TypeError, AttributeError, AssertionError) as error:
        # slips of the parser on text that no person writes (found by fuzzing)
        report(1, 1, f"this cannot be read as YAML ({type(error).__name__}): check the syntax")
        return None
    return builder.root


class _Builder:
    """Takes parser events and builds nodes; the stack holds what is open."""

    def __init__(self, report: Report) -> None:
        self.root: Node | None = None
        self._report = report
        self._stack: list[Node] = []
        self._pending: list[Node | None] = []  # of each open mapping: the key that waits
        self._anchors: dict[str, Node] = {}
        self._documents = 0
        self._written = 0  # events, so at least the values that stand in the text

    def take(self, event: Any) -> None:
        self._written += 1
        if isinstance(event, ScalarEvent):
            self._add(event, Node(self._scalar(event), *_place(event)))
        elif isinstance(event, MappingStartEvent):
            self._open(event, Node({}, *_place(event), keys={}))
        elif isinstance(event, SequenceStartEvent):
            self._open(event, Node([], *_place(event), items=[]))
        elif isinstance(event, CollectionEndEvent):
            node = self._stack.pop()
            node.open = False
            if node.keys is not None:
                self._pending.pop()
                self._merge(node, node.keys)
            self._attach(node)
        elif isinstance(event, AliasEvent):
            self._alias(event)
        elif isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(event, "a second document begins here: keep one document in a file")

    def _open(self, event: Any, node: Node) -> None:
        self._check_tag(event)
        if len(self._stack) >= DEEPEST:
            self._stop(event, f"nested more than {DEEPEST} levels deep: no policy needs that")
        node.open = True
        if event.anchor:
            self._anchors[str(event.anchor)] = node
        self._stack.append(node)
        if node.keys is not None:
            self._pending.append(None)

    def _add(self, event: Any, node: Node) -> None:
        if event.anchor:
            self._anchors[str(event.anchor)] = node
        self._attach(node)

    def _alias(self, event: Any) -> None:
        name = str(event.anchor)
        known = self._anchors.get(name)
        line, column = _place(event)
        if known is None:
            self._report(
                line,
                column,
                f"`*{name}` refers to no `&{name}` above: if a text is meant, "
                f'put it in quotes, `"*{name}"`',
            )
            known = Node("", line, column)
        elif known.open:
            self._stop(event, f"`*{name}` is inside `&{name}` itself, an alias loop: spell it out")
        # the alias' own place, the anchor's contents
        self._attach(Node(known.data, line, column, known.items, known.keys, known.size))

    def _attach(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        parent.size += node.size
        most = min(MOST_NODES, FREE_EXPANSION + EXPANSION * self._written)
        if parent.size > most:
            self._report(
                node.line,
                node.column,
                f"with its aliases expanded the file has more than {most} values: "
                "use groups instead of aliases, or fewer rules",
            )
            raise _Stop
        if parent.items is not None:
            parent.items.append(node)
            parent.data.append(node.data)
        elif self._pending[-1] is None:
            self._pending[-1] = node
        else:
            key, self._pending[-1] = self._pending[-1], None
            self._pair(parent, key, node)

    def _pair(self, parent: Node, key: Node, value: Node) -> None:
        if parent.keys is None:
            return  # a pair is only ever completed in a mapping
        if key.items is not None or key.keys is not None:
            self._report(key.line, key.column, "a key must be a word, not a list or a mapping")
            return
        if not isinstance(key.data, str):
            shown = "null" if key.data is None else str(key.data).lower()
            self._report(
                key.line,
                key.column,
                f'the key `{shown}` is no text: put it in quotes, `"{shown}"`',
            )
            return
        if key.data == "<<":
            parent.merges.extend(value.items if value.items is not None else [value])
            return
        first = parent.keys.get(key.data)
        if first is not None:
            self._report(
                key.line,
                key.column,
                f"the key `{key.data}` is already given at line {first[0].line}, column "
                f"{first[0].column}: keep one of the two",
            )
            return
        parent.keys[key.data] = (key, value)
        parent.data[key.data] = value.data

    def _merge(self, node: Node, keys: dict[str, tuple[Node, Node]]) -> None:
        """Take over what a mapping's `<<` names; its own keys, and earlier sources, win."""
        for source in node.merges:
            if source.keys is None:
                self._report(
                    source.line, source.column, "`<<` merges mappings only: write `<<: *anchor`"
                )
                continue
            for name, pair in source.keys.items():
                if name not in keys:
                    keys[name] = pair
                    node.data[name] = pair[1].data

    def _scalar(self, event: Any) -> Any:
        self._check_tag(event)
        value, tag = event.value, _tag(event)
        half = _HALVES.search(value)
        if half:  # an escape can say what no text may hold
            self._report(
                *_place(event),
                f"`\\u{ord(half.group()):04x}` is half a character: write the character itself",
            )
            value = _HALVES.sub("\ufffd", value)
        if event.style is not None or tag == "tag:yaml.org,2002:str":
            return value
        if value in _WORDS:
            return _WORDS[value]
        if _INT.fullmatch(value):
            return int(value) if len(value) < 19 else value
        if _FLOAT.fullmatch(value):
            return float(value) if len(value) < 40 else value
        return value

    def _check_tag(self, event: Any) -> None:
        tag = _tag(event)
        if tag and tag not in _STANDARD:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self._report(*_place(event), f"the YAML tag `{shown}` has no meaning here: remove it")

    def _stop(self, event: Any, message: str) -> None:
        self._report(*_place(event), message)
        raise _Stop


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _tag(event: Any) -> str:
    return str(event.tag) if event.tag else ""


type Warned = tuple[Node, str]
"""where in a file something is doubtful, and what to write instead"""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file's tree, from which others are looked for."""

    root: Node
    path: tuple[Step, ...] = ()

    def below(self, *steps: Step) -> Spot:
        return Spot(self.root, (*self.path, *steps))

    def node(self, *steps: Step, key: bool = False) -> Node:
        """What stands below it; with `key`, the key of that."""
        return self.root.find((*self.path, *steps), key=key)

    def has(self, key: str) -> bool:
        """Whether the mapping here was written with that key."""
        return key in (self.root.find(self.path).keys or ())
