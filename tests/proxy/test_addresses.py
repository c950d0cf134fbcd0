"""One form for each address, and which are this machine's."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from mitmthrottle.proxy.listen.addresses import canonical, is_local


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001",
     "[::ffff:127.0.0.1]", "::ffff:7f00:1", "0:0:0:0:0:FFFF:127.0.0.1", "::ffff:127.0.0.1%lo",
     " 127.0.0.1 ", "127.0.0.1."],
)  # fmt: skip
def test_one_form_for_all_spellings(text: str) -> None:
    assert canonical(text) == ipaddress.ip_address("127.0.0.1")


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "a.example", "127.0.0.1.b", "0x", "1" * 1000, "٣.0.0.1", "\udcff1"],
)
def test_a_name_is_no_address(text: str) -> None:
    assert canonical(text) is None


def test_a_zone_is_left_out() -> None:
    assert canonical("fe80::1%eth0") == canonical("[fe80::1]")


@pytest.mark.parametrize(
    ("text", "local"),
    [("127.8.9.1", True), ("::1", True), ("0.0.0.0", True), ("::", True), ("::ffff:0.0.0.0", True),
     ("198.18.77.7", False), ("2001:db8::7", False), ("fe80::dead:beef", False)],
)  # fmt: skip
def test_what_stays_on_this_machine(text: str, local: bool) -> None:
    address = canonical(text)
    assert address is not None
    assert is_local(address) is local


def test_an_interface_of_this_machine_is_local() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.18.0.1", 9))  # nothing is sent
        except OSError:
            return  # there is no other than loopback
        address = canonical(probe.getsockname()[0])
    assert address is not None
    assert is_local(address)
