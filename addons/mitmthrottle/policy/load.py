"""A policy file, read: a Policy, or every problem with its line and column.

The one rule: whatever the file holds, the answer is a Policy or a PolicyError that lists all that
is wrong with it, each with a remedy; never another exception, and never the first problem only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from mitmthrottle.policy.advice.groups import group_problems
from mitmthrottle.policy.advice.shadowed import Reach, unreachable
from mitmthrottle.policy.advice.warnings import warnings
from mitmthrottle.policy.conditions.client import ClientMatch
from mitmthrottle.policy.effects import EFFECTS
from mitmthrottle.policy.language.fields import FROM_FILE, Host, OneOrManyOf
from mitmthrottle.policy.language.files import NotRegular, read_regular
from mitmthrottle.policy.language.hosts import HostPattern
from mitmthrottle.policy.language.problems import PolicyError, Problem
from mitmthrottle.policy.language.yamltree import Node, Report, Step, read_tree
from mitmthrottle.policy.messages import explain_error, place_of_error
from mitmthrottle.policy.schema import Policy, Rule

LARGEST_FILE_BYTES = 8 * 2**20
MOST_PROBLEMS = 100  # told of one file; each takes a search for what was meant
_STRANGE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HOSTS: TypeAdapter[tuple[HostPattern, ...]] = TypeAdapter(OneOrManyOf[Host])
_CLIENTS: TypeAdapter[tuple[ClientMatch, ...]] = TypeAdapter(OneOrManyOf[ClientMatch])


def load_policy(path: Path | str) -> Policy:
    """Read a policy file. PolicyError with all problems if it cannot be used."""
    return load_policy_with_warnings(path)[0]


def load_policy_with_warnings(
    path: Path | str, now: float | None = None
) -> tuple[Policy, tuple[Problem, ...]]:
    """The same, and what is doubtful about it. `now` (Unix seconds) tells what is past."""
    name = str(path)
    return parse_policy_with_warnings(_decode(_bytes_of(Path(path), name), name), name, now)


def parse_policy(text: str, file: str = "policy") -> Policy:
    """Read a policy from its text; `file` is the name that problems carry.

    The paths of traces are relative to the folder of `file`.
    """
    return parse_policy_with_warnings(text, file)[0]


def parse_policy_with_warnings(
    text: str, file: str = "policy", now: float | None = None
) -> tuple[Policy, tuple[Problem, ...]]:
    """The same, and what is doubtful about it. `now` (Unix seconds) tells what is past."""
    problems = _Problems(file)
    report = problems.add

    text = text.removeprefix("\ufeff")
    strange = _STRANGE.search(text)
    if strange:
        report(
            *_place_of(text, strange.start()),
            f"the character U+{ord(strange.group()):04X} is not allowed in YAML: delete it",
        )
        raise problems.error()
    if len(text) > LARGEST_FILE_BYTES:
        raise _problem(file, "larger than 8 MiB, which no policy is")
    root = read_tree(text, report)
    if root is None or root.keys is None:
        if not problems:
            empty = root is None or root.data is None
            what = "the file is empty" if empty else "this is no mapping (`key: value`)"
            report(1, 1, f"{what}: a policy begins with `version: 1`")
        raise problems.error()
    read, of_files = _read_files(root, Path(file).parent, report)
    policy = _check(root, read, report)
    if policy is None or problems or of_files:
        raise problems.error(of_files)
    doubtful = _Problems(file, "warning")
    for node, message in warnings(policy, root, now):
        doubtful.add(node.line, node.column, message)
    return policy, tuple(doubtful.told())


def _bytes_of(path: Path, name: str) -> bytes:
    try:
        raw = read_regular(path, LARGEST_FILE_BYTES + 1)
    except NotRegular as other:
        raise _problem(
            name, f"this is {other}, not a regular file: name a policy file, as `NAME.yaml`"
        ) from None
    except FileNotFoundError:
        raise _problem(name, "no such file: check the path") from None
    except IsADirectoryError:
        raise _problem(
            name, "this is a directory: name a policy file in it, as `policies/NAME.yaml`"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise _problem(name, f"cannot be read: {reason}") from None
    if len(raw) > LARGEST_FILE_BYTES:
        raise _problem(name, "larger than 8 MiB, which no policy is: did you name the wrong file?")
    return raw


def _read_files(
    root: Node, folder: Path, report: Report
) -> tuple[dict[str, object], list[Problem]]:
    """(what effects make of the files that rules name, problems in those)."""
    thens = [
        (rule.keys or {})["then"][1]
        for rule in root.find(("rules",)).items or ()
        if "then" in (rule.keys or {})
    ]
    read: dict[str, object] = {}
    problems: list[Problem] = []
    for effect in EFFECTS:
        found, wrong = effect.read_files(thens, folder, report)
        read |= found
        problems += wrong
    return read, problems


def _check(root: Node, read: dict[str, object], report: Report) -> Policy | None:
    for key, value in root.walk():
        if value.data is None:
            what = f"`{key.data}` is empty" if key is not value else "this item is empty"
            report(key.line, key.column, f"{what}: give a value, or leave it out")
    policy: Policy | None = None
    broken: set[Step] = set()
    context = {FROM_FILE: True, **read}
    try:
        policy = Policy.model_validate(root.data, context=context, by_alias=True, by_name=False)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            loc, at_key = place_of_error(error)
            if not loc and error["type"] == "value_error":
                continue  # names that do not resolve: group_problems says where
            node = root.find(loc, key=at_key)
            if node.data is None:
                continue  # said above
            report(node.line, node.column, partial(explain_error, error))
            if loc[:1] == ("rules",) and len(loc) > 1:
                broken.add(loc[1])
    for node, message in group_problems(root):
        report(node.line, node.column, message)
    rules = root.find(("rules",)).items or []
    reaches = _of_policy(policy) if policy else _of_parts(root.data, broken, context)
    for index, earlier in unreachable(reaches):
        what = _rule_name(rules, earlier)
        report(
            rules[index].line,
            rules[index].column,
            f"this rule can never be reached: {what} (line {rules[earlier].line}) covers it; "
            "put this one first, or remove it",
        )
    if policy is None:
        return None
    lines = (rule.at_line(node.line) for rule, node in zip(policy.rules, rules, strict=True))
    return policy.model_copy(update={"rules": tuple(lines)})


def _of_policy(policy: Policy) -> Iterator[Reach]:
    for index, rule in enumerate(policy.rules):
        yield Reach(index, rule.when, {"hosts": policy.hosts, "clients": policy.clients})


def _of_parts(data: dict[str, Any], broken: set[Step], context: Any) -> Iterator[Reach]:
    """What can be compared of a policy that is not valid as a whole."""
    groups = {
        "hosts": _valid_groups(data.get("hosts"), _HOSTS),
        "clients": _valid_groups(data.get("clients"), _CLIENTS),
    }
    rules = data.get("rules")
    for index, raw in enumerate(rules if isinstance(rules, list) else ()):
        if index in broken:
            continue
        try:
            rule = Rule.model_validate(raw, context=context, by_alias=True, by_name=False)
            yield Reach(index, rule.when, groups)
        except (ValidationError, KeyError):  # KeyError: it uses a group that is broken
            continue


def _valid_groups(groups: object, adapter: TypeAdapter[Any]) -> dict[str, Any]:
    valid: dict[str, Any] = {}
    for name, members in groups.items() if isinstance(groups, dict) else ():
        try:
            valid[name] = adapter.validate_python(
                members, context={FROM_FILE: True}, by_alias=True, by_name=False
            )
        except ValidationError:
            continue
    return valid


def _rule_name(rules: list[Node], index: int) -> str:
    data = rules[index].data
    name = data.get("name") if isinstance(data, dict) else None
    return f"`{name}`" if name else f"rule {index + 1}"


def _decode(raw: bytes, name: str) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _problem(name, "this is UTF-16: save it as UTF-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        line, column = _place_of(before, len(before))
        message = f"byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8: save it as UTF-8"
        raise PolicyError([Problem(name, line, column, message)]) from None


def _place_of(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def _problem(name: str, message: str) -> PolicyError:
    return PolicyError([Problem(name, 0, 0, message)])


class _Problems:
    """What is wrong with a file: the first hundred by place, one for each place, in words.

    What follows from the first at a place is noise. A message may be a function that makes it:
    the words of most of a hundred thousand are never asked for.
    """

    def __init__(self, file: str, severity: Literal["error", "warning"] = "error") -> None:
        self._file = file
        self._severity = severity
        self._first: dict[tuple[int, int], str | Callable[[], str]] = {}

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, line: int, column: int, message: str | Callable[[], str]) -> None:
        self._first.setdefault((line, column), message)

    def told(self) -> list[Problem]:
        """By place; where there are too many, the last one says how many more."""
        places = sorted(self._first)
        problems = []
        for line, column in places[:MOST_PROBLEMS]:
            message = self._first[line, column]
            text = message if isinstance(message, str) else message()
            problems.append(Problem(self._file, line, column, text, self._severity))
        more = len(places) - MOST_PROBLEMS
        if more > 0:
            text = f"and {more} more from here on: mend those above first"
            problems.append(Problem(self._file, *places[MOST_PROBLEMS], text, self._severity))
        return problems

    def error(self, others: Iterable[Problem] = ()) -> PolicyError:
        return PolicyError([*self.told(), *others])
