"""What must hold for every policy that can be written, with all of its effects."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mitmthrottle.policy import Decider, Exchange, Policy, Then, parse_policy
from mitmthrottle.policy.language.fields import FROM_FILE
from tests.policy.strategies import EXCHANGES, THENS, WHOLE


def read(data: Any) -> Policy:
    return Policy.model_validate(data, context={FROM_FILE: True}, by_alias=True, by_name=False)


def then_of(data: Any) -> Then:
    return Then.model_validate(data, context={FROM_FILE: True}, by_alias=True, by_name=False)


@settings(max_examples=500, deadline=None)
@given(WHOLE)
def test_parse_print_parse_is_the_same_policy(data: Any) -> None:
    policy = read(data)
    # a file refuses groups that nobody uses, and rules that others cover: neither is printed here
    again = read_text(policy.to_yaml())
    assert again == policy
    assert again.to_yaml() == policy.to_yaml()


def read_text(text: str) -> Policy:
    from mitmthrottle.policy.language.yamltree import read_tree

    faults: list[str] = []
    root = read_tree(text, lambda line, column, said: faults.append(f"{line}:{column}: {said}"))
    assert not faults
    assert root is not None
    return read(root.data)


@settings(max_examples=500, deadline=None)
@given(WHOLE, EXCHANGES)
def test_no_exchange_is_too_much_for_a_policy(data: Any, exchange: Exchange) -> None:
    policy = read(data)
    decider = Decider(policy)
    decider.explain(exchange)
    early = decider.decide_request(exchange).rule
    decided = decider.decide(exchange).rule
    assert early is None or early is decided
    upload = decider.decide_upload(exchange).rule
    assert upload is None or upload.then.upload is not None
    if decided is not None:
        assert decided.then.describe()
        then, until = decided.then.at(exchange.elapsed_s)
        assert not then.stages
        assert until > exchange.elapsed_s or math.isinf(until) or math.isnan(exchange.elapsed_s)
        if decided.then.quota is not None:
            decided.then.quota.window(exchange.time, 1.6e9)
        if then.delay is not None:
            assert then.delay.sample(random.Random(1)) >= 0


@settings(max_examples=300, deadline=None)
@given(THENS, st.floats(0, 1e6), st.floats(0, 1e6))
def test_what_holds_until_a_time_holds_until_then(data: Any, first: float, second: float) -> None:
    then = then_of(data)
    earlier, later = sorted((first, second))
    effects, until = then.at(earlier)
    assert until > earlier
    if later < until:
        assert then.at(later) == (effects, until)
    elif until < math.inf:
        assert then.at(until)[1] > until


@settings(max_examples=200, deadline=None)
@given(THENS)
def test_stages_follow_each_other_without_a_gap(data: Any) -> None:
    then, time = then_of(data), 0.0
    ends = [0.0]
    while time < math.inf:
        _, time = then.at(time)
        ends.append(time)
    assert all(before < after for before, after in pairwise(ends))
    lengths = [stage.for_s for stage in then.stages if stage.for_s is not None]
    if len(ends) > 2:
        assert ends[-2] == sum(lengths) or math.isclose(ends[-2], sum(lengths))


@settings(max_examples=200, deadline=None)
@given(THENS, st.floats(0, 1e6))
def test_effects_in_force_never_contradict_each_other(data: Any, elapsed_s: float) -> None:
    """Whatever stage it is: a block has no rate, and what leaves alone does nothing."""
    effects, _ = then_of(data).at(elapsed_s)
    if effects.pass_:
        assert not any(
            (effects.rate, effects.block, effects.delay, effects.stall, effects.requests)
        )
    if effects.block is not None:
        assert not any((effects.rate, effects.stall, effects.cut, effects.requests))


ODD = st.text(
    alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("'\"\\:#-?*&!|>%@`~\n\t"),
    min_size=1,
    max_size=20,
).filter(lambda text: text.strip())


@settings(max_examples=300, deadline=None)
@given(ODD, ODD, ODD)
def test_any_text_survives_printing(name: str, description: str, rule: str) -> None:
    policy = read(
        {
            "version": 1,
            "name": name,
            "description": description,
            "rules": [{"name": rule, "when": {"host": "a.com"}, "then": {"delay": "1 s"}}],
        }
    )
    again = parse_policy(policy.to_yaml())
    assert again == policy


@settings(max_examples=300)
@given(st.floats(1.0, 125e9), st.integers(1, 2**50), st.floats(1e-9, 3e7), st.floats(0, 1))
def test_any_quantity_survives_printing(
    rate: float, size: int, duration: float, share: float
) -> None:
    from mitmthrottle.policy.language import units

    assert units.parse_rate(units.exact_rate(rate)) == rate
    assert units.parse_size(units.exact_size(size)) == size
    length_s = units.parse_duration(f"{duration:.12f} s")
    assert units.parse_duration(units.exact_duration(length_s)) == length_s
    fraction = units.parse_share(f"{share * 100:.9f}%")
    assert float(units.exact_percent(fraction)) / 100 == fraction
