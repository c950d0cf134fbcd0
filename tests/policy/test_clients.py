"""Who asks: devices of real browsers, addresses, users."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mitmthrottle.policy.clients import ClientMatch, matches_client, parse_network
from mitmthrottle.policy.devices import device_of

DEVICES = [
    tuple(line.split("\t", 1))
    for line in (Path(__file__).parent / "user_agents.txt").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(("device", "user_agent"), DEVICES)
def test_devices_of_real_user_agents(device: str, user_agent: str) -> None:
    assert (device_of({"user-agent": user_agent}) or "none") == device


def test_the_table_has_every_class_and_is_long() -> None:
    assert {device for device, _ in DEVICES} == {"mobile", "tablet", "desktop", "tv", "none"}
    assert len(DEVICES) >= 40


def test_the_client_hint_is_believed_first() -> None:
    desktop = next(agent for device, agent in DEVICES if device == "desktop")
    phone = next(agent for device, agent in DEVICES if device == "mobile")
    tablet = next(agent for device, agent in DEVICES if device == "tablet")
    assert device_of({"sec-ch-ua-mobile": "?1", "user-agent": desktop}) == "mobile"
    assert device_of({"sec-ch-ua-mobile": "?0", "user-agent": desktop}) == "desktop"
    assert device_of({"sec-ch-ua-mobile": "?0", "user-agent": phone}) == "desktop"
    assert device_of({"sec-ch-ua-mobile": "?0", "user-agent": tablet}) == "tablet"
    assert device_of({"sec-ch-ua-mobile": "?0"}) is None
    assert device_of({}) is None


@pytest.mark.parametrize(
    ("network", "address", "inside"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "10.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "/run/socket", False),
        ("0.0.0.0/0", None, False),
    ],
)
def test_addresses(network: str, address: str | None, inside: bool) -> None:
    match = ClientMatch.model_validate({"address": network})
    assert (matches_client(match, address, None, {}) is None) is inside
    assert parse_network(network) == (match.address or ())[0]


def test_all_keys_must_hold_and_each_list_means_any_of() -> None:
    match = ClientMatch.model_validate(
        {"address": ["10.0.0.0/8", "::1"], "user": ["alice", "bob"], "user_agent": "~FIREFOX"}
    )
    agent = {"user-agent": "Mozilla/5.0 Firefox/125.0"}
    assert matches_client(match, "::1", "bob", agent) is None
    assert matches_client(match, "::1", "eve", agent) == "user"
    assert matches_client(match, "::2", "bob", agent) == "address"
    assert matches_client(match, "::1", "bob", {}) == "user_agent"
    assert matches_client(match, "::1", "bob", None) == "user_agent"


def test_a_policy_without_devices_does_not_load_the_tables_of_user_agents() -> None:
    code = (
        "import sys; from mitmthrottle.policy import *\n"
        "p = parse_policy('version: 1\\nname: a\\nrules: [{when: {host: .a.com}, "
        "then: {rate: 1 Mbit/s}}]')\n"
        "Decider(p).explain(Exchange('a.com')); sys.exit('ua_parser' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_policy_with_devices_has_loaded_the_tables_before_the_first_request() -> None:
    code = (
        "import sys; from mitmthrottle.policy import *\n"
        "p = parse_policy('version: 1\\nname: a\\nrules: [{when: {client: {device: mobile}}, "
        "then: {rate: 1 Mbit/s}}]')\n"
        "Decider(p); sys.exit('ua_parser' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
