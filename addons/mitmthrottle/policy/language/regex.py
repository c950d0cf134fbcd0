"""Regular expressions that cannot be made slow: `re` where it is linear, else an automaton.

The one rule: the time to search a text grows no faster than the text, whatever the text and
whatever the expression.

Theory of operation. `re` backtracks: `(a+)+$` takes 2^n steps on the wrong text of n characters,
and `.*a.*b` still n^3. A policy only asks whether an expression is found, not where, and that is
a question about a regular language: all ways to match are followed at once (Thompson 1968), so
each character costs one step. The sets of places in the expression in which one may be are made
when they are first met and kept (a lazy deterministic automaton, as in RE2), so most steps are
one look into a dictionary; what is kept is bounded, and made anew when it is full.

What is no regular language cannot be asked that way: looking ahead or behind, references to
groups, possessive and atomic forms. `re` searches for those. Where that may take n^2 steps, in the
first LONGEST_BACKTRACKED characters only; where it may take more, the expression is refused.
Expressions without such forms that cannot backtrack are left to `re` too: it is ten times as fast.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any

MOST_PLACES = 2000  # of an expression, with its counted repeats spelt out
MOST_STEPS_KEPT = 20_000  # of an automaton, about 100 bytes each
MOST_CHOICES = 6  # of an expression that `re` may search: it may try 2^6 ways at each character
LONGEST_BACKTRACKED = 2048  # characters: n^2 steps take 20 ms
MOST_SMALL_COPIES = 8  # `[0-9]{1,3}` is a few choices and no loop

# The parser of `re` has no public name; what it gives has been the same since Python 3.11.
_parser: Any = importlib.import_module("re._parser")
_MAX = _parser.MAXREPEAT
_NOT_REGULAR = {
    "ASSERT": "`(?=…)`",
    "ASSERT_NOT": "`(?!…)`",
    "GROUPREF": r"`\1`",
    "GROUPREF_IGNORE": r"`\1`",
    "GROUPREF_UNI_IGNORE": r"`\1`",
    "GROUPREF_LOC_IGNORE": r"`\1`",
    "GROUPREF_EXISTS": "`(?(1)…)`",
    "ATOMIC_GROUP": "`(?>…)`",
    "POSSESSIVE_REPEAT": "`a++`",
}
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_NOT_DIGIT": lambda char: not char.isdecimal(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda char: not char.isspace(),
    "CATEGORY_WORD": lambda char: char.isalnum() or char == "_",
    "CATEGORY_NOT_WORD": lambda char: not (char.isalnum() or char == "_"),
}

type Test = Callable[[str], bool]


def compile_search(source: str, flags: int = 0) -> Callable[[str], bool]:
    """Whether the expression is found in a text, as a function.

    ValueError, with a remedy, for what is no expression, is too large, or could take for ever.
    """
    try:
        tree = _parser.parse(source, flags)
    except (OverflowError, RecursionError, re.error) as error:
        raise ValueError(f"`{source[:60]}` is no regular expression: {error}") from None
    special = next((_NOT_REGULAR[str(op)] for op, _ in _parts(tree) if str(op) in _NOT_REGULAR), "")
    loops = _loops_of(tree)
    if not special and loops != 0:
        return _Automaton(source, tree).found_in
    if loops is None or loops > 1:
        raise ValueError(
            f"`~{source[:60]}`: with {special} in it, and so many loops (`*`, `+`) or choices, "
            "this could take for ever on a text that somebody chooses: leave that out, and put a "
            "rule with `pass: true` first for what should not match"
        )
    search, longest = re.compile(source, flags).search, LONGEST_BACKTRACKED
    if not loops:
        return lambda text: search(text) is not None
    return lambda text: search(text[:longest]) is not None


def _parts(tree: Any) -> Iterable[tuple[Any, Any]]:
    """Every (operation, argument) of a parsed expression, without recursion."""
    waiting = [tree]
    while waiting:
        for op, argument in waiting.pop():
            yield op, argument
            waiting += _inner(argument)


def _inner(argument: Any) -> list[Any]:
    """The expressions that an argument holds."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, tuple | list):
        return [inner for part in argument for inner in _inner(part)]
    return []


def _loops_of(tree: Any) -> int | None:
    """The power, beyond 1, of the text's length that `re` may need: its loops, one within another,
    the search for where to begin being the first.

    None: no telling, for there is a loop in a loop, or there are too many choices.
    """
    loops = choices = 0
    for op, argument in _parts(tree):
        name = str(op)
        if name == "BRANCH":
            choices += len(argument[1]).bit_length()
        elif name.startswith("GROUPREF"):
            loops += 1  # the text of a group is as long as the text
        elif name.endswith("_REPEAT"):
            lowest, highest, repeated = argument
            simple = len(repeated) == 1 and str(repeated[0][0]) in _ONE
            if not simple and highest > 1:
                return None
            if highest == _MAX or highest > MOST_SMALL_COPIES:
                loops += 1
            elif highest > lowest:
                choices += 1 if highest - lowest == 1 else 2
    first = tree[0] if len(tree) else (None, None)
    anchored = str(first[0]) == "AT" and (
        str(first[1]) == "AT_BEGINNING_STRING"
        or (str(first[1]) == "AT_BEGINNING" and not tree.state.flags & re.MULTILINE)
    )
    if choices > MOST_CHOICES:
        return None
    return max(loops - 1, 0) if anchored else loops


_ONE = {"LITERAL", "NOT_LITERAL", "ANY", "IN", "CATEGORY"}

# Kinds of a place: reads a character, goes on to others, asks for a position, or is the end.
_READ, _SPLIT, _AT, _END = range(4)
_LAST_LINE_END = "\n$"  # a line end that ends the text: `$` holds before it
_NOTHING = ""  # before the first character and after the last
_FOUND = -1


class _Automaton:
    """An expression as places and ways between them, and the steps that were met so far."""

    def __init__(self, source: str, tree: Any) -> None:
        self._source = source
        self._kinds: list[int] = []
        self._tests: list[Any] = []
        self._ways: list[tuple[int, ...]] = []
        end = self._add(_END, None, ())
        self._start = self._chain(tree, end, tree.state.flags)
        self._forget()

    def found_in(self, text: str) -> bool:
        """Whether the expression is found anywhere in the text."""
        steps = self._steps
        state = 0
        last = len(text) - 1
        body = text[:-1] if text.endswith("\n") else text
        for char in body:
            to = steps[state].get(char)
            if to is None:
                if self._kept > MOST_STEPS_KEPT:
                    state = self._forget(self._states[state])
                    steps = self._steps
                to = self._step(state, char)
            if to == _FOUND:
                return True
            state = to
        if len(body) == last:
            state = self._step(state, _LAST_LINE_END)
            if state == _FOUND:
                return True
        return self._step(state, _NOTHING) == _FOUND

    # -- steps, made when they are first met

    def _forget(self, state: tuple[frozenset[int], str] | None = None) -> int:
        """Begin anew with nothing kept but the start, and the state that one is in."""
        self._states: list[tuple[frozenset[int], str]] = [(frozenset(), _NOTHING)]
        self._numbers = {self._states[0]: 0}
        self._steps: list[dict[str, int]] = [{}]
        self._kept = 0
        return 0 if state is None else self._number(state)

    def _number(self, state: tuple[frozenset[int], str]) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            self._steps.append({})
            self._kept += 1 + len(state[0])
        return number

    def _step(self, number: int, char: str) -> int:
        places, before = self._states[number]
        now = self._reachable(places, before, char)
        if now is None:
            to = _FOUND
        else:
            read = char[:1]
            onward = frozenset(
                self._ways[place][0] for place in now if read and self._tests[place](read)
            )
            to = self._number((onward, _context(read)))
        self._steps[number][char] = to
        self._kept += 1
        return to

    def _reachable(self, places: frozenset[int], before: str, after: str) -> set[int] | None:
        """The reading places reached without reading; None: the end is reached."""
        waiting = [self._start, *places]
        seen = set(waiting)
        reading = set()
        while waiting:
            place = waiting.pop()
            kind = self._kinds[place]
            if kind == _END:
                return None
            if kind == _READ:
                reading.add(place)
            elif kind == _SPLIT or self._tests[place](before, after):
                for way in self._ways[place]:
                    if way not in seen:
                        seen.add(way)
                        waiting.append(way)
        return reading

    # -- from the parsed expression to places

    def _add(self, kind: int, test: Any, ways: tuple[int, ...]) -> int:
        if len(self._kinds) >= MOST_PLACES:
            raise ValueError(
                f"`~{self._source[:60]}` is too large for a regular expression, with its counted "
                "repeats spelt out: write a simpler one"
            )
        self._kinds.append(kind)
        self._tests.append(test)
        self._ways.append(ways)
        return len(self._kinds) - 1

    def _chain(self, parts: Any, onward: int, flags: int) -> int:
        for op, argument in reversed(list(parts)):
            onward = self._part(str(op), argument, onward, flags)
        return onward

    def _part(self, op: str, argument: Any, onward: int, flags: int) -> int:
        if op == "SUBPATTERN":
            _, more, fewer, inner = argument
            return self._chain(inner, onward, (flags | more) & ~fewer)
        if op == "BRANCH":
            starts = tuple(self._chain(branch, onward, flags) for branch in argument[1])
            return self._add(_SPLIT, None, starts)
        if op in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeat(argument, onward, flags)
        if op == "AT":
            return self._add(_AT, _position(str(argument), flags), (onward,))
        return self._add(_READ, _reader(op, argument, flags), (onward,))

    def _repeat(self, argument: Any, onward: int, flags: int) -> int:
        lowest, highest, inner = argument
        if highest == _MAX:
            again = self._add(_SPLIT, None, ())
            self._ways[again] = (self._chain(inner, again, flags), onward)
            start = again
        else:
            start = onward
            for _ in range(highest - lowest):
                start = self._add(_SPLIT, None, (self._chain(inner, start, flags), onward))
        for _ in range(lowest):
            start = self._chain(inner, start, flags)
        return start


def _context(char: str) -> str:
    """All that a position may ask of the character before it."""
    if not char:
        return _NOTHING
    if char == "\n":
        return "\n"
    return "w" if _is_word(char, ascii_only=True) else "é" if _is_word(char) else " "


def _is_word(char: str, ascii_only: bool = False) -> bool:
    return char != "" and (char.isalnum() or char == "_") and (not ascii_only or char.isascii())


def _position(code: str, flags: int) -> Callable[[str, str], bool]:
    ascii_only, lines = bool(flags & re.ASCII), bool(flags & re.MULTILINE)
    if code == "AT_BEGINNING" and lines:
        return lambda before, after: before in (_NOTHING, "\n")
    if code in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        return lambda before, after: before == _NOTHING
    if code == "AT_END" and lines:
        return lambda before, after: after[:1] in (_NOTHING, "\n")
    if code == "AT_END":
        return lambda before, after: after in (_NOTHING, _LAST_LINE_END)
    if code == "AT_END_STRING":
        return lambda before, after: after == _NOTHING
    at_edge = code == "AT_BOUNDARY"

    def at_boundary(before: str, after: str) -> bool:
        edge = _is_word(before, ascii_only) != _is_word(after[:1], ascii_only)
        return edge is at_edge

    return at_boundary


def _reader(op: str, argument: Any, flags: int) -> Test:
    if op == "ANY":
        return (lambda char: True) if flags & re.DOTALL else (lambda char: char != "\n")
    negated = op == "NOT_LITERAL"
    if op == "IN":
        members = list(argument)
        if members and str(members[0][0]) == "NEGATE":
            negated, members = True, members[1:]
    else:
        members = [("LITERAL", argument)]
    tests = [_member(str(kind), value, flags) for kind, value in members]

    def reads(char: str) -> bool:
        spellings = _spellings(char) if flags & re.IGNORECASE else (char,)
        return any(test(each) for test in tests for each in spellings) is not negated

    return reads


def _member(kind: str, value: Any, flags: int) -> Test:
    if kind == "RANGE":
        low, high = value
        return lambda char: low <= ord(char) <= high
    if kind == "CATEGORY":
        test = _CATEGORIES[str(value)]
        if not flags & re.ASCII:
            return test
        positive = _CATEGORIES[str(value).replace("NOT_", "")]
        wanted = "NOT_" not in str(value)
        return lambda char: (char.isascii() and positive(char)) is wanted
    return lambda char: ord(char) == value


def _spellings(char: str) -> tuple[str, ...]:
    """A character in both cases, as far as each is one character."""
    low = char.lower()
    return tuple({each for each in (char, low, char.upper(), low.upper()) if len(each) == 1})
