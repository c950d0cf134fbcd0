"""An effect and a condition that nobody knows of but their own files, used everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .copied import copied, python

# Like a tired modem: slow, late, and asleep for a second after each 4 kB.
DIALUP = '''
"""The `dialup` of a rule."""
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from mitmthrottle.pacing import Stalls
from mitmthrottle.policy.effects import DOWN, Effect, Key, register
from mitmthrottle.policy.effects.delay import Delay
from mitmthrottle.policy.effects.rate import Limits, RateLimit


def _speed(value: object) -> int:
    if value not in (28, 56):
        raise ValueError("must be `28` or `56`, as modems were")
    return int(value)


@register
class DialupEffect(Effect):
    """`dialup`."""

    keys = {
        "dialup": Key(
            Annotated[int, PlainValidator(_speed), WithJsonSchema({"enum": [28, 56]})] | None,
            None,
            "as slow as a modem",
            homes=("then", "stage"),
        )
    }
    place = 25
    example = "{dialup: 56}"
    to_body = "slow"
    slips = {"modem": "did you mean `dialup`?"}

    def describe(self, part) -> Iterator[str]:
        yield f"dialup {part.dialup}"

    def explain(self, part) -> dict[str, Any]:
        return {"dialup_kbit_per_s": part.dialup}

    def conflicts(self, part) -> Iterator[str]:
        if part.dialup and part.rate:
            yield "`dialup` is a rate, but `rate` is given too: keep one of them"

    def warnings(self, part, spot, rule):
        if part.dialup == 28:
            yield spot.node("dialup"), "nobody had 28 for long: write `56`"

    def plan(self, then, body, rule) -> dict[str, Any]:
        rate = RateLimit(limit=f"{then.dialup} kbit/s")
        given = {"limits": Limits(rule.name, (rate,), None, False), "delay": Delay(mean="2 s")}
        return given | ({"silences": (Stalls(4000, 1.0, 4000),)} if body in DOWN else {})
'''

# Only one who asks with an odd number of bytes.
ODD = '''
"""The `odd` condition."""
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from mitmthrottle.policy.conditions import Bound, Condition, register
from mitmthrottle.policy.facts import NO, YES


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be `true` or `false`")
    return value


class Odd(Bound):
    __slots__ = ("_wanted",)

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted

    def test(self, facts) -> int:
        return YES if (len(facts.exchange.path) % 2 == 1) == self._wanted else NO

    def why(self, facts) -> str:
        return f"the path has {len(facts.exchange.path)} characters"


@register
class OddCondition(Condition):
    """`odd`."""

    key = "odd"
    type = Annotated[bool, PlainValidator(_flag), WithJsonSchema({"type": "boolean"})] | None
    place = 15
    cost = 5
    help = "whether the path has an odd number of characters"
    example = "{odd: true}"

    def bind(self, value, policy, rule) -> Bound:
        return Odd(value)
'''

POLICY = """
version: 1
name: toys
rules:
  - name: odd ones
    when: {host: .slow.example, odd: true}
    then: {dialup: 56, stages: [{for: 60 s, pass: true}], from: response}
  - name: at once
    when: {host: .slow.example}
    then: {dialup: 56}
"""

# What check and explain say, the schema, and a body on a fake clock.
SCRIPT = """
import json, sys
from mitmthrottle.explanation import explain_exchange, as_text
from mitmthrottle.policy import *
from mitmthrottle.policy.jsonschema import schema
from tests.proxy.playbook import wire
from tests.proxy.test_http_stream import BODY, HEAD_20K

text = open("toys.yaml").read()

def problems(then, when="{odd: true}", more=""):
    rules = f"  - {{when: {when}, then: {then}}}\\n{more}"
    try:
        _, told = parse_policy_with_warnings(f"version: 1\\nname: p\\nrules:\\n{rules}")
    except PolicyError as error:
        told = error.problems
    return [str(each) for each in told]

policy = parse_policy(text)
made = schema()["$defs"]
out = {
    "conflict": problems("{dialup: 56, rate: 1 Mbit/s}"),
    "block": problems("{dialup: 56, block: 451}"),
    "value": problems("{dialup: 14}", "{odd: maybe}"),
    "slip": problems("{modem: 56}"),
    "near": problems("{dialupp: 56}", "{od: true}"),
    "elsewhere": problems("{odd: true}"),
    "warning": problems("{dialup: 28}"),
    "in a stage": problems("{stages: [{for: 1 s, dialup: 56}]}"),
    "no cover": problems("{dialup: 56}", more="  - {when: {odd: true}, then: {dialup: 28}}\\n"),
    "yaml": parse_policy(policy.to_yaml()) == policy,
    "odd": as_text(explain_exchange(policy, Exchange("a.slow.example", path="/ab"))),
    "even": explain_exchange(policy, Exchange("a.slow.example", path="/a")),
    "schema": [made["Then"]["properties"]["dialup"], made["Stage"]["properties"]["dialup"],
               made["When"]["properties"]["odd"]],
    "after": policy.rules[0].then.at(60.0)[0].describe(),
}
with wire(text) as w:
    w.request("GET http://a.slow.example/b HTTP/1.1\\nHost: a.slow.example\\n\\n")
    w.respond(HEAD_20K)
    w.respond(BODY)
    seen = []
    for _ in range(16):
        w.pass_time(0.5)
        seen.append(len(w.body()))
    out["seen"] = seen
    w.pass_time(10)
    out["whole"] = w.body() == BODY and w.nothing_left()
with wire(text) as w:
    w.request("GET http://a.slow.example/ab HTTP/1.1\\nHost: a.slow.example\\n\\n")
    w.respond(HEAD_20K)
    w.respond(BODY)
    out["free"] = w.body() == BODY
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = copied(tmp_path_factory.mktemp("toys"))
    package = folder / "addons" / "mitmthrottle" / "policy"
    (package / "effects" / "dialup.py").write_text(DIALUP)
    (package / "conditions" / "odd.py").write_text(ODD)
    (folder / "toys.yaml").write_text(POLICY)
    done = python(folder, "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_check_speaks_of_them(said: dict[str, Any]) -> None:
    def told(of: str) -> str:
        return "\n".join(said[of])

    assert "`dialup` is a rate, but `rate` is given too" in told("conflict")
    assert "`block` sends no body that a `dialup` could slow" in told("block")
    assert "`dialup` must be `28` or `56`" in told("value")
    assert "`odd` must be `true` or `false`" in told("value")
    assert "unknown key `modem`: did you mean `dialup`?" in told("slip")
    assert "unknown key `dialupp`: did you mean `dialup`?" in told("near")
    assert "unknown key `od`: did you mean `odd`?" in told("near")
    assert "unknown key `odd` here: it belongs in `when`" in told("elsewhere")
    assert said["warning"] == ["policy:4:40: warning: nobody had 28 for long: write `56`"]
    assert said["in a stage"] == []


def test_a_condition_that_says_nothing_covers_nothing(said: dict[str, Any]) -> None:
    assert said["no cover"] == ["policy:5:40: warning: nobody had 28 for long: write `56`"]


def test_explain_speaks_of_them(said: dict[str, Any]) -> None:
    assert "effects: dialup 56, stages of each response (1 min: pass)" in said["odd"]
    assert said["even"]["effects"] == {"text": "dialup 56", "dialup_kbit_per_s": 56}
    assert said["even"]["why_not"] == [
        {"rule": "odd ones", "condition": "odd", "reason": "the path has 2 characters"}
    ]
    assert said["yaml"]


def test_the_schema_has_them(said: dict[str, Any]) -> None:
    in_then, in_stage, in_when = said["schema"]
    assert in_then["description"] == "as slow as a modem"
    assert {"enum": [28, 56]} in in_then["anyOf"]
    assert {"enum": [28, 56]} in in_stage["anyOf"]
    assert in_when["description"] == "whether the path has an odd number of characters"


def test_it_is_there_again_after_the_last_stage(said: dict[str, Any]) -> None:
    assert said["after"] == "dialup 56"


def test_a_body_does_as_they_say(said: dict[str, Any]) -> None:
    """20 kB at 7 kB/s, two seconds late, with a second of silence after each 4 kB."""
    assert said["free"]
    seen = said["seen"]
    assert seen[:3] == [0, 0, 0]  # the delay
    assert seen.count(4000) >= 2
    assert seen.count(8000) >= 2
    assert 12000 <= seen[-1] < 20000
    assert said["whole"]
