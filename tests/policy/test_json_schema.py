"""`policy.schema.json`: what editors complete and check by."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from mitmthrottle.policy import shipped_policies
from mitmthrottle.policy.jsonschema import schema_text
from mitmthrottle.policy.language.yamltree import read_tree
from tests.policy.strategies import WHOLE

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "policy.schema.json").read_text(encoding="utf-8"))
VALID = Draft202012Validator(SCHEMA)


def data_of(text: str) -> Any:
    faults: list[str] = []
    root = read_tree(text, lambda line, column, said: faults.append(said))
    assert root is not None
    assert not faults
    return root.data


def test_it_is_what_the_model_says() -> None:
    """If this fails: python -m mitmthrottle.policy.jsonschema > policy.schema.json"""
    assert (ROOT / "policy.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_command_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mitmthrottle.policy.jsonschema"],
        capture_output=True, encoding="utf-8", check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == schema_text()


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", shipped_policies(), ids=lambda path: path.stem)
def test_shipped_policies_name_it_and_are_valid(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../policy.schema.json\n")
    assert (path.parent / "../policy.schema.json").resolve() == ROOT / "policy.schema.json"
    assert not [error.message for error in VALID.iter_errors(data_of(text))]


@settings(max_examples=200, deadline=None)
@given(WHOLE)
def test_it_refuses_nothing_that_the_loader_takes(data: Any) -> None:
    assert not [error.message for error in VALID.iter_errors(data)]


GOOD = "version: 1\nname: x\nrules:\n  - {when: {host: a.com}, then: {rate: 128 kbit/s}}\n"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("version: 1", "version: 2"),
        ("name: x", "nmae: x"),
        ("rules:", "ruels:"),
        ("when:", "wen:"),
        ("host: a.com", "hots: a.com"),
        ("host: a.com", "content: 5"),
        ("host: a.com", "port: 70000"),
        ("host: a.com", "status: 99"),
        ("host: a.com", "active: {day: mon}"),
        ("host: a.com", "share: 50"),
        ("rate: 128 kbit/s", "rate: 128"),
        ("rate: 128 kbit/s", "rate: {limit: 1 Mbit/s, per: cleint}"),
        ("rate: 128 kbit/s", "rat: 1 Mbit/s"),
        ("rate: 128 kbit/s", "delay: 300"),
        ("rate: 128 kbit/s", "block: 200"),
        ("rate: 128 kbit/s", "pass: false"),
        ("rate: 128 kbit/s", "cut: 512 KiB"),
        ("rate: 128 kbit/s", "cut: {how: reset}"),
        ("rate: 128 kbit/s", "stall: {after: 1 KiB}"),
        ("rate: 128 kbit/s", "quota: {free: 1 GB, every: fortnight}"),
        ("rate: 128 kbit/s", "requests: 10"),
        ("rate: 128 kbit/s", "stages: [{fro: 1 s}]"),
        ("rate: 128 kbit/s", "rate: 1 Mbit/s, as: bucket"),
        ("rate: 128 kbit/s", "upload: {rat: 1 Mbit/s}"),
        ("{when: {host: a.com}, then: {rate: 128 kbit/s}}", "{when: {host: a.com}}"),
    ],
)
def test_it_refuses_typical_mistakes(right: str, wrong: str) -> None:
    assert VALID.is_valid(data_of(GOOD))
    assert right in GOOD
    assert not VALID.is_valid(data_of(GOOD.replace(right, wrong)))


def test_every_key_has_a_line_of_help() -> None:
    for name in ("Rule", "When", "Then"):
        for key, value in SCHEMA["$defs"][name]["properties"].items():
            assert value.get("description"), f"{name}.{key}"
    assert all(value.get("description") for value in SCHEMA["properties"].values())
