"""Who asks: devices of real browsers, addresses, users."""

from __future__ import annotations

from pathlib import Path

import pytest

from mitmthrottle.policy.conditions.client import ClientMatch, matches_client, parse_network
from mitmthrottle.policy.detect.devices import device_of
from tests.policy import devices_matrix

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


@pytest.mark.parametrize(("kind", "counts"), devices_matrix.kinds().items(), ids=str)
def test_each_kind_of_client_is_what_it_is(kind: tuple[str, str], counts: tuple[int, int]) -> None:
    right, every = counts
    assert right == every, kind


def test_the_list_of_agents_is_long_and_has_many_kinds() -> None:
    assert len(devices_matrix.kinds()) >= 40
    assert len(devices_matrix.agents()) >= 200


def test_the_docs_show_the_matrix_of_today() -> None:
    docs = Path(__file__).parents[2] / "docs" / "devices.md"
    assert devices_matrix.tables() in docs.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        ("AfterShip/5.1 (iPhone; iOS 17.5; Scale/3.00)", "mobile"),  # no AFT…
        ("Dalvik/2.1.0 (Linux; U; Android 9; CUBOT X18 Plus Build/O11019)", "mobile"),  # no bot
        ("Mozilla/5.0 (Linux; Android 13; CUBOT P60) AppleWebKit/537.36 Mobile", "mobile"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) Chrome/131 Mobile Safari TVNow/1", "mobile"),
        ("Mozilla/5.0 (Linux; Android 9; SHIELD Tablet K1) AppleWebKit Safari", "tablet"),
        ("x" * 2000 + " Android", None),  # not looked at beyond 1 KiB
    ],
)
def test_words_that_only_look_like_others(agent: str, device: str | None) -> None:
    assert device_of({"user-agent": agent}) == device
