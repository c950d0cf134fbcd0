"""The proxy settings file: its text. A browser runs it in tests/e2e/test_seeing_page.py."""

from __future__ import annotations

import json
import re

import pytest

from mitmthrottle.policy import Policy, parse_policy
from mitmthrottle.watch.page.pac import pac, parse_proxy


def policy(*hosts: str, name: str = "p") -> Policy:
    rules = "\n".join(f"  - {{when: {{host: {host}}}, then: {{delay: 1 s}}}}" for host in hosts)
    return parse_policy(f"version: 1\nname: {json.dumps(name)}\nrules:\n{rules}\n", "p.yaml")


def names(text: str, what: str) -> set[str]:
    found = re.search(rf"^var {what} = (.*);$", text, re.MULTILINE)
    assert found
    return set(json.loads(found[1]))


def test_each_way_to_write_a_host() -> None:
    text = pac(policy("a.example", ".b.example", '"*.c.example"', "bücher.example"), "h:8080")
    assert names(text, "exact") == {
        ".a.example",
        ".b.example",
        ".xn--bcher-kva.example",
        ".throttle.proxy",
        ".mitm.it",
    }
    assert names(text, "below") == {".b.example", ".c.example"}
    assert 'var through = "PROXY h:8080";' in text
    assert "if (false ||" in text


@pytest.mark.parametrize("host", ['"~cdn[0-9]+"', '[a.example, "~x"]'])
def test_a_regex_may_match_any_host(host: str) -> None:
    text = pac(policy(host), "h:8080")
    assert "if (true ||" in text
    assert "can match any" in text


def test_a_rule_without_hosts_may_match_any() -> None:
    free = parse_policy("version: 1\nname: p\nrules:\n  - then: {delay: 1 s}\n", "p.yaml")
    assert "if (true ||" in pac(free, "h:8080")


def test_without_a_policy_everything_goes_through_the_proxy() -> None:
    """It may get one at any time."""
    assert "if (true ||" in pac(None, "h:8080")


def test_without_a_proxy_everything_goes_past_it() -> None:
    assert 'var through = "DIRECT";' in pac(policy("a.example"), None)


def test_a_name_cannot_break_out_of_its_comment() -> None:
    text = pac(policy("a.example", name="x\nalert(1)\u2028*/"), "h:8080")
    assert text.splitlines()[0].startswith('// mitmthrottle, policy: "x')
    assert not [line for line in text.splitlines() if line.startswith("alert")]
    assert text.isascii()


@pytest.mark.parametrize("text", ["192.168.1.7:8080", "lab.example:1", "[::1]:8080"])
def test_a_proxy_is_host_and_port(text: str) -> None:
    assert parse_proxy(f" {text} ") == text


@pytest.mark.parametrize(
    "text", ["", "a", "a:0", "a:70000", 'a:1"; x', "a:1;b:2", "a b:1", "http://a:1"]
)
def test_what_is_no_proxy_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"write `192\.168\.1\.7:8080`"):
        parse_proxy(text)
