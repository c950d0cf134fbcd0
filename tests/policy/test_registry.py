"""Each effect and each condition is complete: nothing that is said of one is missing."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from mitmthrottle.explanation import explain_exchange
from mitmthrottle.policy import (
    CONDITIONS,
    EFFECTS,
    BodyPart,
    Exchange,
    Plan,
    Policy,
    PolicyError,
    Rule,
    conditions,
    effects,
    parse_policy,
    plan_for,
)
from mitmthrottle.policy.conditions import Condition
from mitmthrottle.policy.effects import Effect
from mitmthrottle.policy.jsonschema import schema

DOCS = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
HEADINGS = {
    key for line in re.findall(r"^### (.*)$", DOCS, re.MULTILINE) for key in line.split(", ")
}
PARTS: tuple[BodyPart, ...] = get_args(BodyPart.__value__)

each_effect = pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.key)
each_condition = pytest.mark.parametrize("condition", CONDITIONS, ids=lambda each: each.key)


def policy(*rules: str) -> Policy:
    return parse_policy(
        "version: 1\nname: p\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    )


def rule(then: str) -> Rule:
    return policy(f"{{name: r, then: {then}}}").rules[0]


def explained(then: str) -> dict[str, Any]:
    answer = explain_exchange(policy(f"{{then: {then}}}"), Exchange("a.test"))["effects"]
    assert answer is not None
    return json.loads(json.dumps(answer))


@pytest.mark.parametrize("package", [effects, conditions], ids=["effects", "conditions"])
def test_each_file_is_one_entry_of_the_table(package: Any) -> None:
    table = EFFECTS if package is effects else CONDITIONS
    folder = Path(package.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {type(each).__module__.rpartition(".")[2] for each in table} == files
    assert len(table) == len(files)
    for each in table:
        assert type(each).__module__.endswith((f".{each.key}", f".{each.key}_"))


# -- effects


@each_effect
def test_an_effect_is_given_by_its_example(effect: Effect) -> None:
    made = rule(effect.example)
    assert effect in made.then.given()
    assert parse_policy(policy(f"{{then: {effect.example}}}").to_yaml()).rules[0].then == made.then


@each_effect
def test_an_effect_is_named_in_the_schema_and_in_the_docs(effect: Effect) -> None:
    properties = schema()["$defs"]["Then"]["properties"]
    for name, key in effect.keys.items():
        assert properties[key.alias or name]["description"] == key.help
    assert effect.key in HEADINGS
    section = DOCS.partition(f"\n### {effect.key}\n")[2].partition("\n### ")[0]
    assert f"{effect.key}: " in section or f"{effect.key}:\n" in section


@each_effect
def test_an_effect_says_what_it_does(effect: Effect) -> None:
    then = rule(effect.example).then
    words = list(effect.describe(then))
    assert words
    assert all(word in then.describe() for word in words)
    found = effect.explain(then)
    assert found
    assert found.items() <= then.explain().items()
    assert set(found) < set(explained(effect.example))


@each_effect
def test_an_effect_gives_something_to_the_plan_of_a_body(effect: Effect) -> None:
    made = rule(effect.example)
    known = {field.name for field in fields(Plan)}
    given = [plan_for(part, made, 0.0) for part in PARTS]
    for part in PARTS:
        assert set(effect.plan(made.then, part, made)) <= known
    assert effect.blocks == any(plan.block is not None for plan in given)
    gives_to_uploads = bool(effect.plan(made.then, "upload", made))
    assert effect.paces_uploads == (gives_to_uploads and effect.acts)
    if effect.alone:
        assert given == [Plan()] * len(PARTS)
    else:
        assert any(plan != Plan() for plan in given)


@each_effect
def test_an_effect_holds_after_the_last_stage(effect: Effect) -> None:
    if effect.in_stages == "never":
        return
    staged = rule(f"{effect.example[:-1]}, stages: [{{for: 1 s, pass: true}}]}}")
    assert staged.then.at(0.5)[0].pass_
    after = staged.then.at(2.0)[0]
    assert effect in after.given()
    assert plan_for("response", staged, 2.0) == plan_for("response", rule(effect.example), 2.0) or (
        plan_for("upload", staged, 2.0) == plan_for("upload", rule(effect.example), 2.0)
    )


@each_effect
def test_an_effect_stands_where_it_says(effect: Effect) -> None:
    homes = effect.keys[effect.field].homes
    for home, text in (
        ("stage", f"{{stages: [{effect.example[:-1]}, for: 1 s}}]}}"),
        ("upload", f"{{upload: {effect.example}}}"),
    ):
        everything = all(home in key.homes for key in effect.keys.values())
        if home in homes and everything:
            assert rule(text)
        elif home not in homes:
            with pytest.raises(PolicyError, match="unknown key"):
                rule(text)


@each_effect
def test_an_effect_knows_whether_a_blocked_response_has_it(effect: Effect) -> None:
    assert not (effect.to_body and effect.beside_block)
    if effect.to_body:
        with pytest.raises(PolicyError, match=f"`{effect.key}` could {effect.to_body}"):
            rule(f"{effect.example[:-1]}, block: 451}}")
    elif effect.beside_block and effect.key != "block" and "rate" not in effect.example:
        assert rule(f"{effect.example[:-1]}, block: 451}}")


# -- conditions

OTHER = [
    Exchange(
        "nowhere.test",
        path="/x",
        method="POST",
        scheme="http",
        port=1,
        status=200,
        content_type="text/html",
        size=1,
        client_address=f"192.0.2.{number}",
        time=1_614_470_400.0,  # a Sunday's midnight
    )
    for number in range(20)
]


@each_condition
def test_a_condition_is_named_in_the_schema_and_in_the_docs(condition: Condition) -> None:
    properties = schema()["$defs"]["When"]["properties"]
    assert properties[condition.key]["description"] == condition.help
    assert condition.key in HEADINGS


@each_condition
def test_a_condition_is_bound_and_says_why_it_does_not_hold(condition: Condition) -> None:
    made = policy(f"{{name: r, when: {condition.example}, then: {{rate: 1 Mbit/s}}}}")
    assert getattr(made.rules[0].when, condition.key) is not None
    answers = [explain_exchange(made, exchange) for exchange in OTHER]
    why = [each["why_not"][0] for each in answers if each["rule"] is None]
    assert why
    assert {each["condition"] for each in why} == {condition.key}
    assert all(each["reason"] for each in why)
    assert parse_policy(made.to_yaml()) == made


@each_condition
def test_a_condition_does_not_cover_everything(condition: Condition) -> None:
    """`check` calls a rule unreachable by an earlier one only where that is certain."""
    narrow = f"{{name: narrow, when: {condition.example}, then: {{rate: 1 Mbit/s}}}}"
    wide = "{name: wide, then: {rate: 2 Mbit/s}}"
    policy(narrow, wide)
    with pytest.raises(PolicyError, match="can never be reached: `wide`"):
        policy(wide, narrow)


# -- the tables themselves


def test_nothing_is_registered_where_it_would_be_forgotten() -> None:
    class Late(type(EFFECTS[0])):  # type: ignore[misc]
        place = 1000

    class LateCondition(type(CONDITIONS[0])):  # type: ignore[misc]
        place = 1000

    with pytest.raises(ValueError, match="to stand in a mapping that is made already"):
        effects.register(Late)
    with pytest.raises(ValueError, match="comes late"):
        conditions.register(LateCondition)
    assert all(type(each) not in (Late, LateCondition) for each in (*EFFECTS, *CONDITIONS))
