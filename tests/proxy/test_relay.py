"""Connections that cannot be opened, as the wire sees them, on a fake clock."""

from __future__ import annotations

import pytest
from mitmproxy import ctx, tcp
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.proxy import context
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.tcp import TcpMessageInjected
from mitmproxy.proxy.layers.tls import ClientTLSLayer, ServerTLSLayer
from mitmproxy.test import tflow, tutils

from mitmthrottle.pacing import Pace
from mitmthrottle.policy import parse_policy
from mitmthrottle.proxy.bodies.body import Body

from .relayed import Relay, client_hello, relay

SLOW = """
version: 1
name: test
rules:
  - name: all of it
    when: {host: .slow.example}
    then: {rate: 8 kB/s}
"""
NAMED = ("a.slow.example", 22)
DATA = bytes(range(250)) * 80  # 2.5 s at 8 kB/s
HELLO = client_hello("a.slow.example")


def with_effect(effect: str) -> str:
    return SLOW.replace("rate: 8 kB/s", effect)


def test_the_name_in_the_client_hello_decides_for_both_directions() -> None:
    with relay(SLOW) as r:  # only an address was dialled
        r.say(r.client, HELLO)
        r.say(r.server, DATA)
        r.say(r.client, DATA)
        r.pass_time(1.0)
        assert len(r.got(r.client)) == pytest.approx(8000, rel=0.06)
        assert len(r.got(r.server)) == pytest.approx(8000, rel=0.06)
        r.pass_time(2.0)
        assert r.got(r.client) == DATA
        assert r.got(r.server) == HELLO + DATA


@pytest.mark.parametrize("size", [1, 5, 100, 300])
def test_a_client_hello_in_several_packets(size: int) -> None:
    with relay(SLOW) as r:
        for start in range(0, len(HELLO), size):
            r.say(r.client, HELLO[start : start + size])
        r.say(r.server, DATA)
        r.pass_time(1.0)
        assert r.got(r.server) == HELLO
        assert len(r.got(r.client)) == pytest.approx(8000, rel=0.06)


@pytest.mark.parametrize(
    "first",
    [client_hello("a.other.example"), b"SSH-2.0-client\r\n", b"\x16\x03\x01\x00\x05junk" * 200],
)
def test_what_does_not_match_is_not_touched(first: bytes) -> None:
    with relay(SLOW) as r:
        r.say(r.client, first)
        r.say(r.server, DATA)
        assert r.got(r.server) == first
        assert r.got(r.client) == DATA
        assert not r.engine.active()


def test_plain_tcp_goes_by_the_name_that_was_dialled() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.server, DATA)  # a greeting: the server speaks first
        r.pass_time(1.0)
        assert len(r.got(r.client)) == pytest.approx(8000, rel=0.06)


def test_the_name_in_the_hello_wins_over_the_one_dialled() -> None:
    with relay(SLOW, ("a.other.example", 443)) as r:
        r.say(r.client, HELLO)
        r.say(r.server, DATA)
        r.pass_time(1.0)
        assert len(r.got(r.client)) == pytest.approx(8000, rel=0.06)


def test_a_rule_that_needs_more_than_the_name_cannot_hold() -> None:
    policy = SLOW.replace(".slow.example}", ".slow.example, content: photo}")
    with relay(policy) as r:
        r.say(r.client, HELLO)
        r.say(r.server, DATA)
        assert r.got(r.client) == DATA


def test_upload_has_its_own_rate_where_the_rule_says_so() -> None:
    with relay(with_effect("rate: 8 kB/s, upload: {rate: 2 kB/s}"), NAMED) as r:
        r.say(r.client, DATA)
        r.say(r.server, DATA)
        r.pass_time(2.0)
        assert len(r.got(r.client)) == pytest.approx(16000, rel=0.06)
        assert len(r.got(r.server)) == pytest.approx(4000, rel=0.1)


def test_connections_share_a_budget_that_says_so() -> None:
    with relay(with_effect("rate: {limit: 8 kB/s, per: client}"), NAMED) as r:
        other = r.another(NAMED)
        for one in (r, other):
            one.say(one.server, DATA)
        r.pass_time(2.0)
        for one in (r, other):
            assert len(one.got(one.client)) == pytest.approx(8000, rel=0.1)


def test_a_delay_comes_before_the_first_byte_down() -> None:
    with relay(with_effect("delay: 300 ms"), NAMED) as r:
        r.say(r.client, b"hello")
        assert r.got(r.server) == b"hello"
        r.say(r.server, DATA)
        r.pass_time(0.29)
        assert r.got(r.client) == b""
        r.pass_time(0.02)
        assert r.got(r.client) == DATA


@pytest.mark.parametrize("greeting", [b"", b"220 mail ready\r\n"])
def test_a_protocol_that_turns_to_tls_later_is_paced_from_then_on(greeting: bytes) -> None:
    with relay(SLOW) as r:
        if greeting:
            r.say(r.server, greeting)
        r.say(r.client, b"EHLO a\r\nSTARTTLS\r\n")
        r.say(r.server, b"220 go ahead\r\n")
        assert r.got(r.client) == greeting + b"220 go ahead\r\n"
        r.say(r.client, HELLO[:200])
        r.say(r.client, HELLO[200:])
        before = len(r.got(r.client))
        r.say(r.server, DATA)
        r.pass_time(1.0)
        assert len(r.got(r.client)) - before == pytest.approx(8000, rel=0.06)


def test_later_tls_is_not_looked_for_for_ever() -> None:
    with relay(SLOW) as r:
        for _ in range(7):
            r.say(r.client, bytes(10_000))
        r.say(r.client, HELLO)
        r.say(r.server, DATA)
        assert r.got(r.client) == DATA


def test_the_tls_of_an_https_proxy_itself_says_nothing_of_the_server() -> None:
    with relay(SLOW, ("mail.other.example", 25)) as r:
        tunnelled(r, sni="a.slow.example")
        r.say(r.server, DATA)
        assert r.got(r.client) == DATA
    with relay(SLOW, NAMED) as r:
        tunnelled(r, sni="proxy.other.example")
        r.say(r.server, DATA)
        r.pass_time(1.0)
        assert len(r.got(r.client)) == pytest.approx(8000, rel=0.06)


def test_what_a_request_was_upgraded_to_goes_by_the_name_in_the_request() -> None:
    with relay(SLOW) as r:  # in transparent mode: only an address was dialled
        tunnelled(r, sni=None, method="GET", host="a.slow.example")
        r.say(r.server, DATA)
        r.pass_time(1.0)
        assert len(r.got(r.client)) == pytest.approx(8000, rel=0.06)


def tunnelled(r: Relay, *, sni: str | None, method: str = "CONNECT", host: str = "") -> None:
    """Put layers around: an HTTP request, in TLS if there is a name, and within it the relay."""
    outside = context.Context(r.client, r.options)
    if sni:
        ServerTLSLayer(outside)
        ClientTLSLayer(outside)
        r.client.sni = sni
    stream = http.HttpStream(outside, 1)
    stream.flow = tflow.tflow(req=tutils.treq(method=method, host=host, authority=b""))
    r.layer.context.layers[:0] = outside.layers


def test_a_wait_for_the_first_byte_earns_nothing() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.client, b"?")
        r.pass_time(5.0)
        r.say(r.server, DATA)
        assert len(r.got(r.client)) == pytest.approx(0.025 * 8000, abs=1)  # a beginner's share
        r.pass_time(1.0)
        assert len(r.got(r.client)) == pytest.approx(8000, rel=0.06)


def test_who_has_authenticated_shares_its_budgets_with_its_requests() -> None:
    with relay(with_effect("rate: {limit: 8 kB/s, per: client}"), NAMED) as r:
        auth = ProxyAuth()
        ctx.master.addons.add(auth)
        auth.authenticated[r.client] = ("alice", "secret")
        r.say(r.server, DATA)
        (down,) = (held for held in r.engine.active() if held.direction == "down")
        assert down.exchange.client_identity == "user alice"


# -- what goes wrong, and what changes


def test_an_error_while_beginning_lets_the_connection_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with relay(SLOW, NAMED) as r:
        monkeypatch.setattr(Body, "begin", lambda *args: 1 / 0)
        r.say(r.server, DATA)
        r.say(r.client, DATA)
        assert r.got(r.client) == DATA
        assert r.got(r.server) == DATA
        assert r.engine.reports.counts["failed"] == 2  # each way


def test_an_error_of_ours_lets_the_connection_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with relay(SLOW) as r:
        monkeypatch.setattr(r.engine, "decide", lambda exchange: 1 / 0)
        r.say(r.client, HELLO)
        r.say(r.server, DATA)
        assert r.got(r.client) == DATA
        assert r.got(r.server) == HELLO
        assert r.engine.reports.counts["failed"] == 1


def test_an_error_while_pacing_lets_the_rest_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.server, DATA[:9000])
        monkeypatch.setattr(Pace, "piece_bytes", lambda *args: 1 / 0)
        r.say(r.server, DATA[9000:])
        r.pass_time(1.0)
        assert r.got(r.client) == DATA


def test_a_new_policy_changes_what_is_under_way() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.server, DATA)
        r.pass_time(1.0)
        r.engine.change_policy(parse_policy(SLOW.replace("8 kB/s", "2 kB/s"), "policy.yaml"))
        before = len(r.got(r.client))
        r.pass_time(2.0)
        assert len(r.got(r.client)) - before == pytest.approx(4000, rel=0.1)
        gone = SLOW.replace("name: all of it", "name: others")
        r.engine.change_policy(parse_policy(gone, "policy.yaml"))
        r.pass_time(0.1)
        assert r.got(r.client) == DATA


def test_the_flow_that_mitmproxy_shows_holds_every_byte() -> None:
    with relay(SLOW, NAMED, ignore=False) as r:
        r.say(r.server, DATA)
        r.half_close(r.server)
        r.pass_time(3.0)
        r.half_close(r.client)
        assert b"".join(m.content for m in r.tcp_flow.messages) == DATA
        assert r.hooks.count("tcp_end") == 1
        assert not r.tcp_flow.live


def test_a_message_that_an_addon_injects_waits_for_its_turn() -> None:
    with relay(SLOW, NAMED, ignore=False) as r:
        r.say(r.server, DATA)
        injected = tcp.TCPMessage(False, b"injected")
        r.feed(TcpMessageInjected(r.tcp_flow, injected))
        r.pass_time(3.0)
        assert r.got(r.client) == DATA + b"injected"
