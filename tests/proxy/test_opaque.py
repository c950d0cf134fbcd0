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

from mitmthrottle.policy import parse_policy
from mitmthrottle.proxy.direction import PacedDirection

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
        assert down.parties.client == "user alice"


# -- endings


def test_the_close_comes_after_the_data() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.server, DATA)
        r.half_close(r.server)
        r.pass_time(1.0)
        assert not r.how_ended(r.client)
        r.pass_time(2.0)
        assert r.got(r.client) == DATA
        assert r.how_ended(r.client) == ["half-closed"]
        assert r.sent[r.client][-1][0] <= r.ended[r.client][0][0]
        assert not r.how_ended(r.server)
        r.half_close(r.client)
        assert r.how_ended(r.server) == ["closed"]
        assert r.nothing_left()
        assert r.engine.reports.counts == {"complete": 2}


def test_a_client_that_has_said_its_last_word_still_gets_the_answer() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.client, b"GET it")
        r.half_close(r.client)
        assert r.how_ended(r.server) == ["half-closed"]
        r.say(r.server, DATA)
        r.half_close(r.server)
        r.pass_time(3.0)
        assert r.got(r.client) == DATA
        assert r.how_ended(r.client) == ["closed"]
        assert r.nothing_left()


def test_an_upload_that_is_held_survives_the_end_of_the_download() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.client, DATA)
        r.half_close(r.client)
        r.half_close(r.server)  # it has nothing to say and listens
        assert r.how_ended(r.client) == ["half-closed"]
        r.pass_time(3.0)
        assert r.got(r.server) == DATA
        assert r.how_ended(r.server) == ["closed"]
        assert r.nothing_left()


def test_a_download_that_is_held_survives_the_end_of_the_upload() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.client, DATA[:4000])
        r.half_close(r.client)
        r.say(r.server, DATA)
        r.half_close(r.server)
        r.pass_time(1.0)
        assert r.got(r.server) == DATA[:4000]
        assert r.how_ended(r.server) == ["half-closed"]
        r.pass_time(2.0)
        assert r.got(r.client) == DATA
        assert r.nothing_left()


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_peer_that_is_gone_ends_the_wait_at_once(who: str) -> None:
    with relay(SLOW, NAMED) as r:
        gone = r.client if who == "client" else r.server
        r.say(r.client, DATA)
        r.say(r.server, DATA)
        r.close(gone)
        assert r.nothing_left()
        assert set(r.how_ended(r.client) + r.how_ended(r.server)) == {"closed"}
        assert r.engine.reports.counts == {"client-gone" if who == "client" else "origin-gone": 2}


def test_a_peer_that_is_found_gone_while_its_data_is_held() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.server, DATA)
        r.half_close(r.client)
        r.break_down(r.client)  # the socket says so when it is written to
        r.pass_time(0.2)
        assert r.nothing_left()
        assert r.engine.reports.counts["client-gone"] == 1


def test_cut_after_so_many_bytes() -> None:
    with relay(with_effect("cut: {after: 5 kB, how: reset}"), NAMED) as r:
        r.say(r.server, DATA)
        assert r.got(r.client) == DATA[:5000]
        assert r.how_ended(r.client) == ["closed"]
        assert r.how_ended(r.server) == ["closed"]
        assert r.engine.reports.counts["cut"] == 2
        r.say(r.client, b"more")
        r.pass_time(1.0)
        assert r.nothing_left()


@pytest.mark.parametrize("block", ["reset", "451"])
def test_block_ends_the_connection_since_nothing_can_be_answered(block: str) -> None:
    with relay(with_effect(f"block: {block}")) as r:
        r.say(r.client, HELLO)
        assert r.got(r.server) == b""
        assert r.how_ended(r.client) == ["closed"]
        assert r.engine.reports.counts["blocked"] == 2
        assert r.nothing_left()


def test_block_by_silence_lasts_until_the_client_gives_up() -> None:
    with relay(with_effect("block: timeout")) as r:
        r.say(r.client, HELLO)
        r.say(r.server, DATA)
        r.pass_time(300)
        assert r.got(r.client) == b""
        r.half_close(r.client)
        assert r.how_ended(r.server) == ["closed"]
        assert r.nothing_left()


def test_a_block_after_a_quota_comes_for_the_next_connection() -> None:
    quota = "quota: {free: 10 kB, per: client}"
    with relay(with_effect(f"{quota}, block: 429"), NAMED) as r:
        r.say(r.server, DATA)  # more than is free, but it has begun
        assert r.got(r.client) == DATA
        assert not r.how_ended(r.client)
        other = r.another(NAMED)
        other.say(other.server, DATA)
        assert other.got(other.client) == b""
        assert other.how_ended(other.client) == ["closed"]


def test_within_a_quota_there_is_no_delay() -> None:
    with relay(with_effect("quota: {free: 1 MB, per: client}, delay: 2 s"), NAMED) as r:
        r.say(r.server, DATA)
        assert r.got(r.client) == DATA


# -- what goes wrong, and what changes


def test_an_error_while_beginning_lets_the_connection_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with relay(SLOW, NAMED) as r:
        monkeypatch.setattr(PacedDirection, "attach", lambda *args: 1 / 0)
        r.say(r.server, DATA)
        r.say(r.client, DATA)
        assert r.got(r.client) == DATA
        assert r.got(r.server) == DATA
        assert r.engine.reports.counts["failed"] == 1


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
        monkeypatch.setattr(PacedDirection, "piece_bytes", lambda *args: 1 / 0)
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
