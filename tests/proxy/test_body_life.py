"""Every way in which a body begins, changes and ends, as the wire sees it, on a fake clock."""

from __future__ import annotations

import gc
import weakref

import pytest
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.flow import Error

from mitmthrottle.policy import parse_policy
from mitmthrottle.proxy.bodies.body import Body

from .playbook import Wire, wire
from .test_http_stream import BODY, GET, HEAD_20K, SLOW, with_effect
from .test_websocket import ACCEPT, UPGRADE

HOST = "host: .slow.example"
POST = "POST http://a.slow.example/up HTTP/1.1\nHost: a.slow.example\nContent-Length: 20000\n\n"
CHUNKED = (
    "POST http://a.slow.example/up HTTP/1.1\nHost: a.slow.example\nTransfer-Encoding: chunked\n\n"
)
SHORT = "HTTP/1.1 200 OK\nContent-Type: image/jpeg\nContent-Length: 3\n\nabc"


def policy(effect: str, when: str = HOST) -> str:
    return with_effect(effect, when)


def begin(w: Wire, body: bytes = BODY) -> None:
    w.request(GET)
    w.respond(HEAD_20K)
    w.respond(body)


def follow(w: Wire, text: str) -> None:
    w.engine.change_policy(parse_policy(text, "policy.yaml"))


def outcome(w: Wire, flow: int = 0) -> str:
    return str(w.flows[flow].metadata["mitmthrottle"]["outcome"])


def bodies_in_memory() -> int:
    gc.collect()
    return sum(isinstance(each, Body) for each in gc.get_objects())


# -- answers before there is a response


@pytest.mark.parametrize("streaming", [None, "1", "1m"])
@pytest.mark.parametrize("sort", ["length", "chunked", "nothing"])
@pytest.mark.parametrize("block", ["451", "reset", "timeout"])
def test_a_blocked_host_answers_every_method_and_body(
    streaming: str | None, sort: str, block: str
) -> None:
    with wire(policy(f"block: {block}")) as w:
        w.options.update(stream_large_bodies=streaming)
        if sort == "length":
            w.request(POST)
            w.send(BODY)
        elif sort == "chunked":
            w.request(CHUNKED)
            w.send(b"1388\r\n" + BODY[:5000] + b"\r\n0\r\n\r\n")
        else:
            w.request(GET)
        w.pass_time(30)
        if block == "451":
            assert w.received().startswith(b"HTTP/1.1 451 ")
            assert outcome(w) == "blocked"
        elif block == "reset":
            assert w.client in w.closed
            assert outcome(w) == "blocked"
        else:
            assert not w.received()
            assert w.client not in w.closed
            w.close(w.client)
            assert outcome(w) == "client-gone"
        assert not w.servers
        assert w.nothing_left()


@pytest.mark.parametrize("streaming", [None, "1"])
@pytest.mark.parametrize("hook", ["requestheaders", "request"])
@pytest.mark.parametrize("request_", [POST, CHUNKED])
def test_another_addon_may_answer_under_an_upload_rule(
    streaming: str | None, hook: str, request_: str
) -> None:
    def answer(name: str, flow: http.HTTPFlow) -> None:
        if name == hook and flow.response is None:
            flow.response = http.Response.make(418, b"short", {"Content-Type": "text/plain"})

    if hook == "request":  # mitmproxy itself has no way to answer a request that it streams
        streaming = None
    with wire(policy("upload: {rate: 1 kB/s}" if hook == "requestheaders" else "delay: 1 s")) as w:
        w.options.update(stream_large_bodies=streaming)
        w.hook = answer
        w.request(request_)
        w.send(BODY if request_ is POST else b"5\r\nhello\r\n0\r\n\r\n")
        w.pass_time(40)
        assert w.received().startswith(b"HTTP/1.1 418 ")
        assert w.received().endswith(b"short")
        assert w.nothing_left()


def test_requests_without_a_body_leave_nothing() -> None:
    with wire(policy("upload: {rate: {limit: 8 kB/s, per: rule}}")) as w:
        before = bodies_in_memory()
        for _ in range(50):
            w.request(GET)
            w.respond(SHORT)
        assert w.nothing_left()
        assert bodies_in_memory() == before
        w.request(POST)
        w.send(BODY)
        w.pass_time(1.0)
        sent = len(w.at_origin().rpartition(b"\r\n\r\n")[2])
        assert sent == pytest.approx(8000, rel=0.06)  # as if it shared with nobody


# -- protocols that change, with bytes that come at once


@pytest.mark.parametrize("effect", ["rate: 12.5 MB/s", "delay: 300 ms", "like: wpt/3gslow"])
@pytest.mark.parametrize("protocol", ["tcp", "websocket"])
def test_what_comes_with_a_101_is_not_lost(effect: str, protocol: str) -> None:
    said = b"\x82\x05hello" if protocol == "websocket" else b"hello"
    request, answer = UPGRADE, ACCEPT
    if protocol == "tcp":
        request = request.replace("Upgrade: websocket", "Upgrade: tcp")
        answer = answer.replace("Upgrade: websocket", "Upgrade: tcp")
    with wire(policy(effect)) as w:
        w.options.update(rawtcp=True)
        w.request(request)
        w.respond(answer.replace("\n", "\r\n").encode() + said)
        w.respond(said)
        w.pass_time(5)
        head, _, rest = w.received().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert rest == 2 * said
        w.send(b"\x82\x85\0\0\0\0there" if protocol == "websocket" else b"there")
        w.pass_time(5)
        assert w.at_origin().endswith(b"there") or b"there" in _unmasked(w.at_origin())


def _unmasked(data: bytes) -> bytes:
    """The payload of the last, short, masked frame."""
    mask, payload = data[-9:-5], data[-5:]
    return bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


# -- changes under way


def test_a_comment_in_the_file_changes_nothing_within_a_quota() -> None:
    text = policy("quota: {free: 1 MB, per: client}, block: 429")
    with wire(text) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:5000])
        follow(w, text + "# a comment\n")
        w.pass_time(0.1)
        w.respond(BODY[5000:])
        w.pass_time(0.1)
        assert w.body() == BODY
        assert outcome(w) == "complete"


def test_a_body_that_began_within_its_quota_runs_to_its_end() -> None:
    text = policy("quota: {free: 8 kB, per: client}, block: 429")
    with wire(text) as w:
        begin(w, BODY[:15000])
        w.pass_time(0.1)
        follow(w, text + "# a comment\n")
        w.respond(BODY[15000:])
        w.pass_time(0.1)
        assert w.body() == BODY
        w.request(GET)
        w.respond(SHORT)
        assert b"HTTP/1.1 429 " in w.received()


@pytest.mark.parametrize(
    "stages", ["stages: [{for: 24 h, rate: 1 MB/s}, {rate: 8 kB/s}]",
               "from: response, stages: [{for: 24 h, rate: 1 MB/s}, {rate: 8 kB/s}]"],
)  # fmt: skip
def test_nothing_of_a_body_outlives_it(stages: str) -> None:
    with wire(policy(stages)) as w:
        gone = []
        for _ in range(3):
            w.request(GET)
            w.respond(HEAD_20K)
            (body,) = w.engine.active()
            gone.append(weakref.ref(body))
            del body
            w.respond(BODY)
            w.pass_time(1)
        assert w.nothing_left()
        gc.collect()
        assert [ref() for ref in gone] == [None, None, None]


def longest_silence(w: Wire, since: float) -> float:
    times = [since] + [at for at, _ in w.sent[w.client] if at >= since]
    return max(late - early for early, late in zip(times, [*times[1:], w.clock.time], strict=True))


FALLING = "stages: [{for: 1 s, rate: 1.25 MB/s}, {rate: 8 kB/s}]"


@pytest.mark.parametrize("way", ["stage", "reload", "command"])
@pytest.mark.parametrize("per", ["response", "client"])
def test_a_rate_that_falls_under_way_leaves_no_long_silence(way: str, per: str) -> None:
    def rate(text: str) -> str:
        return f"rate: {{limit: {text}, per: {per}}}"

    fast, slow = rate("1.25 MB/s"), rate("8 kB/s")
    staged = f"stages: [{{for: 1 s, {fast}}}, {{{slow}}}]"
    text = policy(staged if way == "stage" else fast)
    big = "HTTP/1.1 200 OK\nContent-Type: image/jpeg\nContent-Length: 4000000\n\n"
    with wire(text) as w:
        w.request(GET)
        w.respond(big)
        w.respond(bytes(4_000_000))
        w.pass_time(1.0)
        if way == "reload":
            follow(w, policy(slow))
        elif way == "command":
            w.addon.control.rate("photos", "8 kB/s", "")
        since, before = w.clock.time, len(w.body())
        w.pass_time(4.0)
        assert longest_silence(w, since) < 0.7
        assert len(w.body()) - before < 4 * 8000 + 70_000  # at most one old piece


def test_what_a_quota_spares_begins_when_it_is_used_up() -> None:
    """Cut, stall, starts, delay and upload alike."""
    effects = "cut: {after: 12 kB}, stall: {after: 10 kB, for: 5 s}, delay: 3 s, rate: 80 kB/s"
    with wire(policy(f"quota: {{free: 8 kB, per: client}}, {effects}")) as w:
        begin(w)
        assert len(w.body()) > 8000  # no delay, and at full speed
        w.pass_time(1.0)
        assert len(w.body()) == 10000
        w.pass_time(5.0)
        assert len(w.body()) == 12000
        assert outcome(w) == "cut"
        assert w.nothing_left()


def test_within_a_quota_nobody_waits_to_start() -> None:
    with wire(policy("quota: {free: 30 kB, per: client}, requests: 1 / h")) as w:
        for _ in range(2):  # the second one begins within it
            begin(w)
        assert w.received().count(BODY) == 2
        w.request(GET)  # the first start that counts
        w.respond(SHORT)
        assert w.received().endswith(b"abc")
        w.request(GET)
        w.respond(SHORT)
        w.pass_time(3500)
        assert w.received().count(b"\r\n\r\nabc") == 1
        w.pass_time(200)
        assert w.received().count(b"\r\n\r\nabc") == 2


def test_within_a_quota_uploads_are_free_too() -> None:
    with wire(policy("quota: {free: 30 kB, per: client}, upload: {rate: 1 kB/s, delay: 1 s}")) as w:
        w.request(POST)
        w.send(BODY)
        assert w.at_origin().endswith(BODY)


@pytest.mark.parametrize(
    "effect",
    [
        "requests: 1 / h",
        "delay: 300 s",
        "stall: {after: 1 kB, for: 300 s}",
        "rate: 10 B/s",
        "rate: 1 kB/s, as: policer, burst: 10 kB",
        "block: timeout",
    ],
)
def test_whoever_waits_is_not_taken_for_dead(effect: str) -> None:
    """mitmproxy closes a connection on which nothing has happened for `tcp_timeout`."""
    with wire(policy(effect)) as w:
        w.idle_timeout_s = 0.9
        if effect.startswith("requests"):
            w.request(GET)
            w.respond(SHORT)
        w.request(GET)
        if w.servers:
            w.respond(HEAD_20K)
            w.respond(BODY)
        w.pass_time(9.0)
        assert not w.received().endswith(BODY)
        assert w.longest_idle_s < 0.9


@pytest.mark.parametrize(
    ("before", "after", "then"),
    [
        ("stall: {after: 4 kB, for: 1 h}", "stall: {after: 4 kB, for: 1 s}", 20000),
        ("rate: 80 kB/s, stall: {after: 4 kB, for: 1 h}", "rate: 80 kB/s", 20000),
        ("rate: 4 kB/s, cut: {after: 12 kB}", "rate: 80 kB/s", 20000),
        ("rate: 4 kB/s", "rate: 80 kB/s, cut: {after: 12 kB}", 12000),
        ("rate: 4 kB/s", "rate: 80 kB/s, stall: {after: 12 kB, for: 1 h}", 12000),
        ("rate: 2 kB/s, as: policer", "rate: 80 kB/s", 20000),
        ("requests: 1 / h, rate: 4 kB/s", "rate: 80 kB/s", 20000),
        ("delay: 1 h", "delay: 1 s", 20000),
        ("rate: {limit: 4 kB/s, per: client}", "rate: 80 kB/s", 20000),
    ],
)
def test_a_changed_effect_holds_for_what_is_under_way(before: str, after: str, then: int) -> None:
    with wire(policy(before)) as w:
        begin(w)
        w.pass_time(1.0)
        assert len(w.body()) < 6000
        follow(w, policy(after))
        w.pass_time(3.0)
        assert len(w.body()) == then


def test_a_rule_that_comes_back_holds_again() -> None:
    with wire(policy("rate: 4 kB/s")) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:5000])
        follow(w, policy("pass: true"))
        w.pass_time(0.1)
        assert len(w.body()) == 5000
        follow(w, policy("rate: 4 kB/s"))
        w.respond(BODY[5000:])
        w.pass_time(1.0)
        assert len(w.body()) == pytest.approx(9000, abs=400)


def test_a_reload_without_its_quota_gives_nothing_out_twice() -> None:
    with_quota = policy("quota: {free: 8 kB, per: client}, rate: 4 kB/s")
    with wire(with_quota) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:8000])
        w.pass_time(0.1)
        assert len(w.body()) == 8000
        follow(w, policy("rate: 4 kB/s"))
        w.pass_time(0.1)
        follow(w, with_quota)
        w.respond(BODY[8000:])
        w.pass_time(1.0)
        assert len(w.body()) == pytest.approx(12000, abs=600)


def test_each_stage_of_responses_of_their_own_has_its_budget() -> None:
    """Else the newest response would set everybody's rate."""
    stages = ("from: response, stages: [{for: 1 s, rate: {limit: 8 kB/s, per: client}}, "
              "{rate: {limit: 1 kB/s, per: client}}]")  # fmt: skip
    with wire(policy(stages)) as w:
        begin(w)
        w.pass_time(1.5)
        first = len(w.body())
        w.pass_time(1.0)
        assert len(w.body()) - first < 1200
        other = Wire(w.tctx, w.addon, w.clock)
        begin(other)
        w.pass_time(0.9)
        assert len(other.body()) > 6000
        assert len(w.body()) - first < 2300


# -- ends


@pytest.mark.parametrize("effect", ["rate: 8 kB/s", "delay: 1 h", "requests: 1 / h"])
def test_what_is_under_way_when_the_throttle_stops_is_told_so(effect: str) -> None:
    with wire(policy(effect)) as w:
        if effect.startswith("requests"):
            w.request(GET)
            w.respond(SHORT)
        begin(w, BODY[:12000])
        w.pass_time(1.0)
        w.engine.stop()
        figures = w.flows[-1].metadata["mitmthrottle"]
        assert figures["outcome"] == "stopped"
        assert figures["bytes"] < 9000
        w.respond(BODY[12000:])
        w.pass_time(0.1)
        assert w.received().endswith(BODY)
        assert w.nothing_left()


def test_a_killed_flow_ends_as_stopped() -> None:
    def kill(name: str, flow: http.HTTPFlow) -> None:
        if name == "responseheaders":
            flow.kill()

    with wire(SLOW) as w:
        w.hook = kill
        w.request(GET)
        w.respond(HEAD_20K)
        assert w.flows[0].error is not None
        assert w.flows[0].error.msg == Error.KILLED_MESSAGE
        assert w.nothing_left()
        assert w.client in w.closed


def test_an_origin_that_is_not_there_ends_an_upload() -> None:
    with wire(policy("upload: {rate: 8 kB/s}")) as w:
        w.refuse_connections = True
        w.request(POST)
        w.send(BODY)
        w.pass_time(5)
        assert w.nothing_left()
        assert w.flows[0].metadata["mitmthrottle"]["upload"]["outcome"] == "origin-gone"


def test_a_client_that_gives_up_before_its_upload_began_starts_nothing() -> None:
    with wire(policy("upload: {delay: 10 s}")) as w:
        w.request(POST)
        w.send(BODY[:5000])
        w.close(w.client)
        w.pass_time(20)
        assert not w.servers
        assert w.nothing_left()


# -- failures


def test_a_callback_that_raises_ends_its_own_exchange_only() -> None:
    def raising(name: str, flow: http.HTTPFlow) -> None:
        if name == "responseheaders" and flow.request.path == "/bad.jpg":
            assert flow.response is not None
            flow.response.stream = lambda data: 1 / 0

    with wire(SLOW) as w:
        w.hook = raising
        w.request(GET.replace("p.jpg", "bad.jpg"))
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(1.0)
        assert w.client in w.closed
        assert outcome(w) == "stopped"
        assert w.engine.reports.counts["failed_beyond"] == 1
        assert w.nothing_left()


@pytest.mark.parametrize(
    "broken",
    ["_claim", "_may_start", "_draw_from", "_in_force", "_tail", "_look_at_clock", "_timeline_of",
     "_limit_reader", "_period"],
)  # fmt: skip
def test_an_error_in_any_of_our_parts_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Injected once, in the middle; it is said and counted, and the body passes whole."""
    effect = "rate: 8 kB/s, stall: {after: 19 kB, for: 1 s}, quota: {free: 1 kB}"
    with wire(policy(effect)) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:10000])
        w.pass_time(0.2)
        real = getattr(Body, broken)
        failed: list[str] = []

        def once(self: Body, *args: object, **named: object) -> object:
            if not failed:
                failed.append(broken)
                raise ZeroDivisionError
            return real(self, *args, **named)

        monkeypatch.setattr(Body, broken, once)
        follow(w, policy(effect.replace("8 kB/s", "9 kB/s")))
        w.respond(BODY[10000:])
        w.pass_time(10.0)
        assert w.body() == BODY
        assert w.client.state is ConnectionState.OPEN
        assert w.nothing_left()
        if failed:
            assert w.engine.reports.counts["failed"] >= 1


def test_what_a_connection_had_free_is_forgotten_with_it() -> None:
    with wire(policy("quota: {free: 8 kB, per: connection}, rate: 4 kB/s")) as w:
        begin(w, BODY)
        w.pass_time(4.0)
        assert len(w.engine.quotas) == 1
        w.close(w.client)
        w.addon.client_disconnected(w.client)
        assert len(w.engine.quotas) == 0


def test_what_mitmproxy_collects_and_then_streams_keeps_its_order_and_is_counted_once() -> None:
    """Its first bytes told that no rule is for it; `stream_large_bodies` comes in its middle."""
    with wire(policy("delay: 2 s", "host: .slow.example, content: photo")) as w:
        w.options.update(stream_large_bodies="2k")
        w.request(GET.replace("p.jpg", "data"))
        w.respond("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
        for at in range(0, 6000, 1000):
            w.respond(b"3e8\r\n" + BODY[at : at + 1000] + b"\r\n")
        w.respond(b"0\r\n\r\n")
        w.pass_time(1.0)
        _, _, rest = w.received().partition(b"\r\n\r\n")
        assert b"".join(rest.split(b"\r\n")[1::2]).startswith(BODY[:100])
        assert rest.replace(b"\r\n", b"").endswith(b"0")
        assert w.engine.reports.unmatched == 1
        assert w.nothing_left()
