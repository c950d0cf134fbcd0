"""Which addresses are balancers, as the option says it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from mitmthrottle.proxy.listen.proxy_protocol import ProxyProtocol, parse_networks


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        ([""], []),
        (["198.18.0.0/15"], ["198.18.0.0/15"]),
        (["198.18.0.0/15, 10.0.0.7,", "2001:db8::/32"],
         ["198.18.0.0/15", "10.0.0.7/32", "2001:db8::/32"]),
    ],
)  # fmt: skip
def test_networks(texts: list[str], expected: list[str]) -> None:
    assert parse_networks(texts) == tuple(ipaddress.ip_network(text) for text in expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("balancer.example", "`balancer.example` is no network: write `198.18.0.0/15`, or"),
        ("10.0.0.0/33", "`10.0.0.0/33` is no network"),
        ("198.18.0.1,10.0.0.1/8", "`10.0.0.1/8` is no network: write `198.18.0.0/15`, or "
         "`198.18.0.7` for one balancer; did you mean `10.0.0.0/8`?"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_said_with_a_remedy(text: str, said: str) -> None:
    addon = ProxyProtocol()
    context: Any = taddons.context(addon)
    with context, pytest.raises(exceptions.OptionsError) as caught:
        context.configure(addon, throttle_proxy_protocol=[text])
    assert str(caught.value).startswith(f"throttle_proxy_protocol: {said}")
