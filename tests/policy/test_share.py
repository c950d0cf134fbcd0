"""Shares: sticky, even, the same on every machine, and the small within the large."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest

from mitmthrottle.policy import Decider, Exchange, parse_policy, unit_interval

ADDRESSES = [f"10.{n // 256}.{n % 256}.7" for n in range(1000)]
HALF = """
version: 1
name: half
seed: {seed}
rules:
  - when: {{share: {share}}}
    then: {{rate: 128 kbit/s}}
"""


def slowed(seed: str, share: str) -> set[str]:
    decider = Decider(parse_policy(HALF.format(seed=seed, share=share)))
    return {
        address
        for address in ADDRESSES
        if decider.decide(Exchange("a.com", client_address=address)).rule
    }


@pytest.mark.parametrize("seed", ["a", "b", "twitter-2021", "long " * 40])
def test_half_of_a_thousand_clients(seed: str) -> None:
    assert 470 <= len(slowed(seed, "50%")) <= 530


def test_the_same_numbers_for_ever() -> None:
    """Written down once: another release, machine or Python must give the same."""
    assert unit_interval("twitter-2021", "10.0.0.1") == 0.7364353839839521
    assert unit_interval("", "") != unit_interval("", "", "")
    assert unit_interval("s", "a", "bc") != unit_interval("s", "ab", "c")
    assert 0 <= unit_interval("\ud800", "\ud800") < 1


def test_another_process_with_another_hash_seed_agrees() -> None:
    code = (
        "from mitmthrottle.policy import unit_interval\n"
        "print([unit_interval('x', f'10.0.0.{n}') for n in range(50)])"
    )
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", code]
        told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        here = str([unit_interval("x", f"10.0.0.{n}") for n in range(50)])
        assert told.stdout.decode().strip() == here


def test_another_seed_takes_others() -> None:
    one, other = slowed("one", "50%"), slowed("other", "50%")
    assert 200 <= len(one & other) <= 300  # a quarter is in both by chance


def test_a_small_share_lies_within_a_large_one() -> None:
    shares = ["0%", "10%", "30%", "50%", "90%", "100%"]
    sets = [slowed("seed", share) for share in shares]
    assert all(small <= large for small, large in itertools.pairwise(sets))
    assert (len(sets[0]), len(sets[-1])) == (0, 1000)


def test_the_policys_name_is_the_seed_unless_another_is_given() -> None:
    policy = parse_policy("version: 1\nname: x\nrules:\n  - then: {rate: 1 Mbit/s}\n")
    assert policy.seed == "x"


def test_a_user_is_the_same_client_at_any_address() -> None:
    decider = Decider(parse_policy(HALF.format(seed="s", share="50%")))
    for user in ("alice", "bob", "carol", "dave"):
        answers = {
            bool(decider.decide(Exchange("a.com", user=user, client_address=a)).rule)
            for a in ADDRESSES[:20]
        }
        assert len(answers) == 1


def test_a_mapped_address_is_the_same_client() -> None:
    assert Exchange("a", client_address="::ffff:10.0.0.7").client_identity == "10.0.0.7"


def test_a_share_of_responses_counts_responses() -> None:
    decider = Decider(parse_policy(HALF.format(seed="s", share="{of: responses, percent: 10}")))
    hit = [
        number
        for number in range(5000)
        if decider.decide(Exchange("a.com", client_address="10.0.0.1", serial=number)).rule
    ]
    assert 420 <= len(hit) <= 580
