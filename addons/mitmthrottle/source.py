"""A policy, in whatever form a program has it: a file, the name of a shipped one, text or data.

Rule: every form goes through the loader of files, so that each has the same checks, in the same
words.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from mitmthrottle.policy import Policy, PolicyError, find_policy, parse_policy
from mitmthrottle.policy import load_policy as load_file

type PolicySource = Policy | Mapping[str, Any] | Path | str
"""A policy as programs may give it: a `Path`; the text of a path, or the name of a policy that
comes with mitmthrottle (`"twitter-2021"`); YAML or JSON text, known by a line break or by a `{` at
its beginning; the same as a mapping, in which `version` and `name` may be missing; or a `Policy`
that is loaded already."""

_NAME = "policy"
"""of a mapping that has none, and of what is no file, in messages"""


def load_policy(source: PolicySource) -> Policy:
    """Read and check a policy.

    `source` is a path, the name of a shipped policy, YAML or JSON text, a mapping, or a `Policy`
    (see `PolicySource`). Where it is no file, the paths of its traces are relative to the working
    folder.

    Raises PolicyError with all that is wrong, each with its place and a remedy; lines count from 1.
    The error for a mapping has a note with the text that its lines refer to. Raises TypeError for
    a mapping that holds what no policy file can say.

        policy = load_policy({"rules": [{"name": "photos", "when": {"content": "photo"},
                                         "then": {"rate": "128 kbit/s"}}]})
    """
    if isinstance(source, Policy):
        return source
    if isinstance(source, Mapping):
        text = _text_of(source)
        try:
            return parse_policy(text, _NAME)
        except PolicyError as error:
            lines = enumerate(text.splitlines(), 1)
            error.add_note("its lines:\n" + "\n".join(f"{n:4}  {line}" for n, line in lines))
            raise
    if _is_text(source):
        return parse_policy(str(source), _NAME)
    return load_file(find_policy(os.fspath(source)))


def policy_file(source: PolicySource, folder: Path) -> Path:
    """The file that says it: the one that is meant, or one that is made in `folder`.

    Raises as `load_policy` does.
    """
    policy = load_policy(source)
    if isinstance(source, Path) or (isinstance(source, str) and not _is_text(source)):
        return find_policy(os.fspath(source))
    path = folder / f"{_NAME}.yaml"
    anchored = _with_absolute_traces(policy)
    if isinstance(source, Policy) or anchored is not policy:
        text = anchored.to_yaml()
    else:  # as it was given: what is told of it later names its lines
        text = _text_of(source) if isinstance(source, Mapping) else str(source)
    path.write_text(text, encoding="utf-8")
    return path


def _is_text(source: Path | str) -> bool:
    return isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{"))


def _text_of(data: Mapping[str, Any]) -> str:
    """JSON, which is YAML as well: a line for each value, and nothing that is read differently."""
    complete = {"version": 1, "name": _NAME, **data}
    try:
        return json.dumps(complete, indent=1, ensure_ascii=False, default=_plain) + "\n"
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"this mapping is no policy: {error}; give text, numbers, booleans, lists and mappings"
        ) from None


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"it holds {value!r}")


def _with_absolute_traces(policy: Policy) -> Policy:
    """The same policy for a file in another folder; itself where that changes nothing."""
    rules = tuple(
        rule.model_copy(
            update={"then": rule.then.model_copy(update={"trace": str(Path(trace).absolute())})}
        )
        if (trace := rule.then.trace) is not None and not Path(trace).is_absolute()
        else rule
        for rule in policy.rules
    )
    if all(new is old for new, old in zip(rules, policy.rules, strict=True)):
        return policy
    return policy.model_copy(update={"rules": rules})
