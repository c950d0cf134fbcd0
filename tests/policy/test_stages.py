"""Stages and traces: which effects are in force at what time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmthrottle.policy import PolicyError, Then, load_policy, parse_policy
from mitmthrottle.policy.effects.stages import TRACES
from mitmthrottle.policy.language.fields import FROM_FILE
from mitmthrottle.policy.language.trace import MOST_LINES, parse_trace


def then_of(**keys: Any) -> Then:
    data = {key.rstrip("_"): value for key, value in keys.items()}
    return Then.model_validate(data, context={FROM_FILE: True}, by_alias=True, by_name=False)


LADDER = [{"for": "60 s", "rate": "5 Mbit/s"}, {"for": "60 s", "rate": "128 kbit/s"},
          {"block": 451}]  # fmt: skip


def test_without_stages_it_is_itself_for_ever() -> None:
    then = then_of(rate="1 Mbit/s")
    assert then.at(5.0) == (then, math.inf)
    assert then.at(5.0)[0] is then


@pytest.mark.parametrize(
    ("elapsed_s", "said", "until"),
    [
        (0.0, "5 Mbit/s per response", 60.0),
        (59.9, "5 Mbit/s per response", 60.0),
        (60.0, "128 kbit/s per response", 120.0),
        (120.0, "block 451", math.inf),
        (1e9, "block 451", math.inf),
        (-5.0, "5 Mbit/s per response", 60.0),
    ],
)
def test_a_ladder(elapsed_s: float, said: str, until: float) -> None:
    effects, end = then_of(stages=LADDER).at(elapsed_s)
    assert (effects.describe(), end) == (said, until)


def test_the_same_stage_is_the_same_object() -> None:
    then = then_of(stages=LADDER)
    assert then.at(1.0)[0] is then.at(2.0)[0]
    changed = then.model_copy(update={"stages": then.stages[1:]})
    assert changed.at(1.0)[0].describe() == "128 kbit/s per response"
    assert then.at(1.0)[0].describe() == "5 Mbit/s per response"


def test_a_stages_own_keys_stand_over_the_rules() -> None:
    then = then_of(
        rate="1 Mbit/s",
        delay="300 ms",
        as_="policer",
        stall={"after": "1 MiB", "for": "2 s"},
        upload={"rate": "1 Mbit/s"},
        stages=[
            {"for": "10 s", "rate": "2 Mbit/s", "as": "shaper"},
            {"for": "10 s", "delay": "1 s"},
            {"for": "10 s", "block": 503},
            {"for": "10 s", "pass": True},
        ],
    )
    said = [then.at(s)[0].describe() for s in (0, 10, 20, 30, 40)]
    stalled, upload = "stall 2 s after 1 MiB", "upload 1 Mbit/s per response"
    assert said == [
        f"2 Mbit/s per response, delay 300 ms, {stalled}, {upload}",
        f"1 Mbit/s per response, policed, delay 1 s, {stalled}, {upload}",
        f"delay 300 ms, block 503, {upload}",
        "pass",
        # after the last stage, what the rule itself says
        f"1 Mbit/s per response, policed, delay 300 ms, {stalled}, {upload}",
    ]


def test_after_the_last_stage_a_rule_without_effects_leaves_alone() -> None:
    effects, until = then_of(stages=[{"for": "60 s", "rate": "1 Mbit/s"}]).at(60.0)
    assert effects.pass_
    assert until == math.inf


def test_a_rules_own_block_comes_after_the_stages_only() -> None:
    then = then_of(block=451, stages=[{"for": "60 s", "rate": "1 Mbit/s"}])
    assert [then.at(s)[0].block for s in (0, 60)] == [None, 451]


def test_from() -> None:
    assert then_of(stages=LADDER).from_ == "policy"
    assert then_of(stages=LADDER, from_="response").from_ == "response"


# traces


def trace(text: str, *elapsed: float) -> list[tuple[str, float]]:
    stages, faults = parse_trace(text, "t.csv")
    assert not faults
    then = Then.model_validate(
        {"trace": "t.csv"}, context={FROM_FILE: True, TRACES: {"t.csv": stages}}, by_alias=True
    )
    assert then.stages_repeat
    return [(then.at(s)[0].describe(), then.at(s)[1]) for s in elapsed]


def test_a_trace_begins_anew_and_its_last_line_lasts_as_long_as_the_one_before() -> None:
    text = "seconds,rate\n10, 5 Mbit/s\n11,800 kbit/s\n\n# a remark\n13,1 Mbit/s\n"
    assert trace(text, 0, 1, 3, 4.9, 5, 6, 50) == [
        ("5 Mbit/s per response", 1.0),
        ("800 kbit/s per response", 3.0),
        ("1 Mbit/s per response", 5.0),
        ("1 Mbit/s per response", 5.0),
        ("5 Mbit/s per response", 6.0),
        ("800 kbit/s per response", 8.0),
        ("5 Mbit/s per response", 51.0),
    ]


def test_a_trace_is_found_beside_its_policy(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "train.csv").write_text("0,5 Mbit/s\n1,1 Mbit/s\n")
    path = tmp_path / "sub" / "p.yaml"
    path.write_text(
        "version: 1\nname: p\ndefaults: {per: client}\nrules:\n  - then: {trace: train.csv}\n"
    )
    monkeypatch.chdir(tmp_path)
    then = load_policy(path).rules[0].then
    assert len(then.stages) == 2
    assert then.at(0.5)[0].describe() == "5 Mbit/s per client"
    monkeypatch.chdir(tmp_path / "sub")
    assert parse_policy(load_policy(path).to_yaml(), "p.yaml") == load_policy("p.yaml")


def test_a_traces_faults_have_its_own_lines(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("seconds,rate\n0,5\n")
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nname: p\nrules:\n  - then: {trace: train.csv, rat: 1}\n")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert [str(fault).split(": ")[0] for fault in caught.value.problems] == [
        f"{path}:4:30",
        f"{tmp_path}/train.csv:2:3",
    ]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xff\xfe0", "t.csv:1:1: this is not UTF-8"),
        (b"", "t.csv:1:1: a trace needs two lines"),
        (b"0,1 Mbit/s\n" * 2, "t.csv:2:1: `0` is not later"),
        (b"\n".join(b"%d,1 Mbit/s" % n for n in range(MOST_LINES + 2)), "lines: thin the trace"),
    ],
)
def test_a_trace_that_is_none(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nname: p\nrules:\n  - then: {trace: t.csv}\n")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert said in str(caught.value)


def test_a_trace_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nname: p\nrules:\n  - then: {trace: t.csv}\n")
    with pytest.raises(PolicyError, match=r"p\.yaml:4:19: `t\.csv`: this is no file"):
        load_policy(path)


def test_from_python_a_trace_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("0,5 Mbit/s\n1,1 Mbit/s\n")
    assert len(Then(trace="t.csv").stages) == 2
    with pytest.raises(ValueError, match="no such file"):
        Then(trace="u.csv")


@settings(max_examples=300)
@given(st.text(alphabet="0123456789.,-; \n\"'#ekMbit/snaif\x00", max_size=80))
def test_any_text_is_stages_or_faults(text: str) -> None:
    stages, faults = parse_trace(text, "t.csv")
    assert bool(stages) != bool(faults)
    assert all(stage.for_s is not None and stage.for_s > 0 for stage in stages)
