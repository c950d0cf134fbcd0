"""What must hold for every policy and every exchange."""

from __future__ import annotations

from hypothesis import given, settings

from mitmthrottle.policy import Decider, Exchange, Policy
from mitmthrottle.policy.advice.shadowed import unreachable
from mitmthrottle.policy.load import _of_policy
from tests.policy.strategies import BODY_POLICIES, EXCHANGES, POLICIES, UNFINISHED


def alone(policy: Policy, index: int) -> Decider:
    """The same policy with one of its rules only."""
    return Decider(policy.model_copy(update={"rules": (policy.rules[index],)}))


@settings(max_examples=400)
@given(POLICIES, EXCHANGES)
def test_explain_tells_what_decide_does(policy: Policy, exchange: Exchange) -> None:
    decider = Decider(policy)
    decided, told = decider.decide(exchange), decider.explain(exchange)
    assert told.rule is decided.rule
    assert (told.needs_first_bytes, told.size_step) == (
        decided.needs_first_bytes,
        decided.size_step,
    )
    assert len(told.why_not) == len(policy.rules) - (decided.rule is not None)
    names = [rule.name for rule in policy.rules]
    for why in told.why_not:
        assert why.condition is not None
        if decided.rule is not None and why.condition == "order":
            assert names.index(why.rule) > names.index(decided.rule.name)


@settings(max_examples=400)
@given(POLICIES, EXCHANGES)
def test_the_index_gives_what_asking_each_rule_in_turn_gives(
    policy: Policy, exchange: Exchange
) -> None:
    expected = None
    waits = False
    for index, rule in enumerate(policy.rules):
        one = alone(policy, index).decide(exchange)
        if one.rule is not None or one.needs_first_bytes:
            expected, waits = (rule.name if one.rule else None), one.needs_first_bytes
            break
    decision = Decider(policy).decide(exchange)
    assert (decision.rule.name if decision.rule else None) == expected
    assert decision.needs_first_bytes == waits


@settings(max_examples=400)
@given(BODY_POLICIES, UNFINISHED)
def test_a_step_is_where_a_rule_comes_to_hold(policy: Policy, exchange: Exchange) -> None:
    decider = Decider(policy)
    step = decider.decide(exchange).size_step
    if step is not None:
        assert step > exchange.seen
        assert decider.decide(exchange._replace(seen=step - 1)).rule is None
        # without its first bytes the kind may still be open, and decide against the rule
        if exchange.first_bytes is not None:
            assert decider.decide(exchange._replace(seen=step)).rule is not None


@settings(max_examples=400)
@given(BODY_POLICIES, UNFINISHED)
def test_once_the_first_bytes_are_seen_nothing_waits_for_them(
    policy: Policy, exchange: Exchange
) -> None:
    decider = Decider(policy)
    decision = decider.decide(exchange)
    if decision.needs_first_bytes:
        assert exchange.first_bytes is None
        assert decision.rule is None
    assert not decider.decide(exchange._replace(first_bytes=b"hello")).needs_first_bytes


@settings(max_examples=400)
@given(POLICIES, EXCHANGES)
def test_a_rule_chosen_at_the_request_is_chosen_at_every_response(
    policy: Policy, exchange: Exchange
) -> None:
    decider = Decider(policy)
    early = decider.decide_request(exchange).rule
    if early is not None:
        assert decider.decide(exchange).rule is early


@settings(max_examples=600)
@given(POLICIES, EXCHANGES)
def test_a_rule_told_to_be_unreachable_never_decides(policy: Policy, exchange: Exchange) -> None:
    decided = Decider(policy).decide(exchange).rule
    for index, earlier in unreachable(_of_policy(policy)):
        assert earlier < index
        assert decided is not policy.rules[index]


@given(POLICIES, EXCHANGES)
def test_a_host_that_no_rule_may_match_is_left_alone(policy: Policy, exchange: Exchange) -> None:
    decider = Decider(policy)
    if not decider.might_match_host(exchange.host):
        assert decider.decide(exchange).rule is None
