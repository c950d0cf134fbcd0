"""A policy in each form that a program may have it in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mitmthrottle import Policy, PolicyError, PolicySource, explain, load_policy
from mitmthrottle.source import policy_file

RULES: list[Any] = [
    {"name": "photos", "when": {"host": "cdn.test", "content": "photo"},
     "then": {"rate": "128 kbit/s"}}
]  # fmt: skip
DATA = {"version": 1, "name": "policy", "rules": RULES}
TEXT = """\
version: 1
name: policy
rules:
  - name: photos
    when: {host: cdn.test, content: photo}
    then: {rate: 128 kbit/s}
"""
JSON = (
    '{"version": 1, "name": "policy", "rules": [{"name": "photos", "when": {"host": "cdn.test", '
    '"content": "photo"}, "then": {"rate": "128 kbit/s"}}]}'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(TEXT)
    return path


def forms(path: Path) -> list[PolicySource]:
    return [path, str(path), TEXT, JSON, f"\n  {JSON}", DATA, {"rules": RULES},
            MappingProxyType({"rules": tuple(RULES)}), load_policy(path)]  # fmt: skip


def test_all_forms_are_the_same_policy(path: Path) -> None:
    assert {repr(load_policy(form)) for form in forms(path)} == {repr(load_policy(path))}
    assert load_policy(path).rules[0].then.rate[0].limit_bytes_per_s == 16_000


def test_all_forms_make_a_file_that_says_the_same(path: Path, tmp_path: Path) -> None:
    for number, form in enumerate(forms(path)):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert load_policy(policy_file(form, folder)) == load_policy(path)


def test_a_file_is_itself_so_that_an_edit_takes_hold(path: Path, tmp_path: Path) -> None:
    assert policy_file(path, tmp_path) == path
    assert policy_file(str(path), tmp_path) == path
    assert policy_file("twitter-2021", tmp_path).name == "twitter-2021.yaml"
    assert list(tmp_path.iterdir()) == [path]


def test_text_keeps_its_lines(tmp_path: Path) -> None:
    text = f"# a comment\n\n{TEXT}"
    made = policy_file(text, tmp_path)
    assert made.read_text() == text
    assert load_policy(made).rules[0].line == 6


def test_a_shipped_policy_by_its_name() -> None:
    assert load_policy("twitter-2021").name == "twitter-2021"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("twiter-2021", "no such file, and no shipped policy has this name: did you mean "
                        "`twitter-2021`?"),
        ("no/such.yaml", "no such file: check the path"),
        (TEXT.replace("content", "contnet"), "policy:5:28: unknown key `contnet`: did you mean "
                                             "`content`?"),
        ({"rules": [{"then": {"rate": "128"}}]}, "policy:7:13: `128`: a rate needs a unit"),
        ({}, "`rules`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(source: PolicySource, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(source)
    assert said in str(caught.value)


def test_the_lines_of_a_mapping_are_shown() -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy({"rules": [{"then": {"rate": "128"}}]})
    (problem,) = caught.value.problems
    shown = caught.value.__notes__[0].splitlines()
    assert shown[0] == "its lines:"
    assert '"rate": "128"' in shown[problem.line]


@pytest.mark.parametrize("odd", [{1, 2}, object(), b"bytes", float])
def test_a_mapping_that_no_file_can_say(odd: object) -> None:
    with pytest.raises(TypeError, match="this mapping is no policy: it holds"):
        load_policy({"rules": [{"then": {"rate": odd}}]})


def test_a_mapping_that_holds_itself() -> None:
    loop: dict[str, Any] = {}
    loop["rules"] = [loop]
    with pytest.raises(TypeError, match="this mapping is no policy"):
        load_policy(loop)


def test_paths_and_moments_in_a_mapping_are_as_they_would_be_written(tmp_path: Path) -> None:
    trace = tmp_path / "train.csv"
    trace.write_text("seconds,rate\n0,5 Mbit/s\n1,1 Mbit/s\n")
    policy = load_policy(
        {
            "rules": [
                {"when": {"active": {"from": datetime(2021, 3, 10, 7, tzinfo=UTC)}},
                 "then": {"trace": trace}}
            ]
        }
    )  # fmt: skip
    assert policy.rules[0].then.trace == str(trace)


@pytest.mark.parametrize("form", ["mapping", "text", "loaded"])
def test_a_trace_is_found_from_the_working_folder(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.csv").write_text("seconds,rate\n0,5 Mbit/s\n1,1 Mbit/s\n")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    source: PolicySource = {"rules": [{"then": {"trace": "train.csv"}}]}
    if form == "text":
        source = "version: 1\nname: policy\nrules:\n  - then: {trace: train.csv}\n"
    elif form == "loaded":
        source = load_policy(source)
    made = load_policy(policy_file(source, folder))
    assert len(made.rules[0].then.stages) == 2


def test_a_loaded_policy_stays_itself() -> None:
    policy = load_policy(DATA)
    assert load_policy(policy) is policy
    assert isinstance(policy, Policy)


def test_explain_takes_every_form(path: Path) -> None:
    for form in forms(path):
        told = explain(form, "https://cdn.test/a.jpg")
        assert (told["rule"], told["content"]) == ("photos", "photo")


def test_explain_takes_the_facts() -> None:
    policy = {
        "rules": [
            {"name": "all", "when": {
                "method": "POST", "header": {"x-test": "yes"}, "status": 404, "size": "> 1 kB",
                "client": {"address": "10.0.0.7", "user": "alice"}, "content": "video",
                "active": {"days": "mon", "hours": "10:00-11:00", "tz": "UTC"}},
             "then": {"rate": "1 Mbit/s"}}
        ]
    }  # fmt: skip
    facts: dict[str, Any] = {
        "method": "post", "request_headers": {"X-Test": "yes"}, "status": 404, "size": 1001,
        "client_address": "10.0.0.7", "user": "alice", "content_type": "video/mp4",
        "at": datetime(2026, 11, 30, 10, 30, tzinfo=UTC),
    }  # fmt: skip
    url = "https://example.org/"
    assert explain(policy, url, **facts)["rule"] == "all"
    assert explain(policy, url, **{**facts, "at": "mon 10:30"})["rule"] == "all"
    for fact, other in (
        ("method", "GET"), ("request_headers", {}), ("status", 200), ("size", 1000),
        ("client_address", "10.0.0.8"), ("user", None), ("content_type", "image/png"),
        ("at", "mon 11:00"), ("opaque", True),
    ):  # fmt: skip
        assert explain(policy, url, **{**facts, fact: other})["rule"] is None, fact


@pytest.mark.parametrize(
    ("url", "at", "said"),
    [
        ("ftp://a/", None, "not an http or https URL"),
        ("https://a/", "noon", "`noon` is no time"),
        ("https://a/", datetime(2026, 1, 1), "has no zone"),
    ],
)
def test_explain_of_nonsense(url: str, at: datetime | str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        explain(DATA, url, at=at)
