"""Shares: sticky, even, the same on every machine, and the small within the large."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest

from mitmthrottle.policy import Decider, Exchange, parse_policy, unit_interval
from mitmthrottle.policy.conditions.share import place_of_client

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


@pytest.mark.parametrize("seed", ["a", "b", "twitter-2021", "summer", "long " * 40])
def test_half_of_a_thousand_clients(seed: str) -> None:
    assert 470 <= len(slowed(seed, "50%")) <= 530


def test_few_neighbours_are_shared_out_evenly_too() -> None:
    for seed, network in itertools.product("abcdefgh", ("10.0.0", "192.168.178", "198.18.7")):
        places = [place_of_client(seed, f"{network}.{host}") for host in range(10, 30)]
        assert 8 <= sum(place < 0.5 for place in places) <= 12
        assert 1 <= sum(place < 0.1 for place in places) <= 4


def test_a_thousand_neighbours_come_close_to_any_share() -> None:
    for seed in map(str, range(40)):
        places = [place_of_client(seed, f"127.0.{n // 250}.{1 + n % 250}") for n in range(1000)]
        for share in (0.05, 0.5, 0.8):
            assert abs(sum(place < share for place in places) / 1000 - share) < 0.01


def test_what_is_no_ipv4_address_has_its_own_place() -> None:
    names = ["user alice", "user bob", "2001:db8::7", "2001:db8::8", "a.b.c.d", ""]
    assert len({place_of_client("s", name) for name in names}) == len(names)


def test_the_same_numbers_for_ever() -> None:
    """Written down once: another release, machine or Python must give the same."""
    assert unit_interval("twitter-2021", "10.0.0.1") == 0.7364353839839521
    assert unit_interval("", "") != unit_interval("", "", "")
    assert unit_interval("s", "a", "bc") != unit_interval("s", "ab", "c")
    assert 0 <= unit_interval("\ud800", "\ud800") < 1
    assert place_of_client("twitter-2021", "10.0.0.1") == 0.24162306735171457


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
