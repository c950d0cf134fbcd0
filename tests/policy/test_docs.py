"""Every example of docs/policy.md is read, and every key of the language has one.

A block is a whole policy, or what its marker says: `when` and `then` are conditions and effects
(one a paragraph), `broken` and `warned` are policies that `check` speaks of, `file` is a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from mitmthrottle.policy import (
    PolicyError,
    Then,
    When,
    load_policy,
    load_policy_with_warnings,
    presets,
)
from mitmthrottle.policy.language.yamltree import read_tree
from mitmthrottle.policy.messages import keys_of, model_in
from mitmthrottle.policy.schema import Policy

TEXT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```(yaml|csv)\n(.*?)```", re.DOTALL)
FOUND = [(found[0] or "", found[1], found[2]) for found in BLOCK.findall(TEXT)]
FILES = {marker.removeprefix("file: "): text for marker, kind, text in FOUND if kind == "csv"}


def indented(text: str) -> str:
    return "".join(f"      {line}\n" for line in text.splitlines())


def fragments(kind: str) -> list[str]:
    return [
        part.strip() for marker, _, text in FOUND if marker == kind for part in text.split("\n\n")
    ]


def policies() -> list[str]:
    head = "version: 1\nname: example\nrules:\n"
    whole = [text for marker, kind, text in FOUND if kind == "yaml" and not marker]
    whens = [
        f"{head}  - when:\n{indented(part)}    then: {{rate: 1 Mbit/s}}\n"
        for part in fragments("when")
    ]
    thens = [f"{head}  - then:\n{indented(part)}" for part in fragments("then")]
    return whole + whens + thens


def written(folder: Path, text: str) -> Path:
    for name, content in FILES.items():
        (folder / name).write_text(content)
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


def test_there_are_examples() -> None:
    assert len(policies()) > 60
    assert {marker.split(":")[0] for marker, _, _ in FOUND} == {
        "", "when", "then", "file", "broken", "warned"
    }  # fmt: skip


@pytest.mark.parametrize("text", policies())
def test_each_example_is_right(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    policy, warnings = load_policy_with_warnings(path)
    assert not warnings
    path.write_text(policy.to_yaml())
    assert load_policy(path) == policy


@pytest.mark.parametrize(
    ("said", "text"),
    [(marker[8:], text) for marker, _, text in FOUND if marker.startswith("broken: ")],
)
def test_each_broken_one_is_told_as_written(tmp_path: Path, said: str, text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(written(tmp_path, text))
    assert [fault.message for fault in caught.value.problems] == [said]


@pytest.mark.parametrize(
    ("said", "text"),
    [(marker[8:], text) for marker, _, text in FOUND if marker.startswith("warned: ")],
)
def test_each_warning_is_told_as_written(tmp_path: Path, said: str, text: str) -> None:
    _, warnings = load_policy_with_warnings(written(tmp_path, text))
    assert [fault.message.startswith(said) for fault in warnings] == [True]


def keys_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys_in(item)}
    if isinstance(value, list):
        return {key for item in value for key in keys_in(item)}
    return set()


def models() -> set[type[BaseModel]]:
    """Of a policy and of all that is in one."""
    found: set[type[BaseModel]] = {Policy}
    ahead: list[type[BaseModel]] = [Policy]
    for model in ahead:
        for field in model.model_fields.values():
            inner = model_in(field.annotation)
            if inner is not None and inner not in found:
                found.add(inner)
                ahead.append(inner)
    return found


def test_every_key_has_an_example() -> None:
    shown: set[str] = set()
    for text in policies():
        root = read_tree(text, lambda *fault: pytest.fail(str(fault)))
        assert root is not None
        shown |= keys_in(root.data)
    known = {key for model in models() for key in keys_of(model)}
    assert known <= shown


def test_every_key_of_a_rule_has_a_heading() -> None:
    headings = set(re.findall(r"^### (.*)$", TEXT, re.MULTILINE))
    named = {key for heading in headings for key in re.split(r", ", heading)}
    for part in (When, Then):
        assert set(keys_of(part)) - {"from"} <= named


def test_every_key_says_what_others_call_it() -> None:
    """So that who searches for the word that he knows finds ours."""
    sections = re.split(r"^(?=#{2,3} )", TEXT, flags=re.MULTILINE)
    keys = [part for part in sections if part.startswith("### ")]
    assert len(keys) > 20
    for part in keys:
        assert len(re.findall(r"^\*Elsewhere:\* ", part, re.MULTILINE)) == 1, part.splitlines()[0]


@pytest.mark.parametrize(
    "words", ["latency", "bandwidth", "rate limit", "goodput", "token bucket", "packet loss"]
)
def test_the_words_that_people_search_for_are_there(words: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for text in (TEXT, readme):
        assert words in re.sub(r"\s+", " ", text).lower()


def test_every_family_of_presets_is_named() -> None:
    for family in {name.split("/")[0] for name in presets()}:
        assert f"`{family}/…`" in TEXT


def test_links_within_the_page_lead_somewhere() -> None:
    titles = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors
