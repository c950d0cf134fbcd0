"""The stream as the wire sees it: HTTP/1 bytes in, HTTP/1 bytes out, on a fake clock."""

from __future__ import annotations

import pytest
from mitmproxy import http

from mitmthrottle.pacing import Pace
from mitmthrottle.policy import parse_policy

from .playbook import wire

SLOW = """
version: 1
name: test
rules:
  - name: photos
    when: {host: .slow.example, content: photo}
    then: {rate: 8 kB/s}
"""
GET = "GET http://a.slow.example/p.jpg HTTP/1.1\nHost: a.slow.example\n\n"
HEAD_20K = "HTTP/1.1 200 OK\nContent-Type: image/jpeg\nContent-Length: 20000\n\n"
BODY = bytes(range(250)) * 80


def with_effect(effect: str, when: str = "host: .slow.example, content: photo") -> str:
    return SLOW.replace("rate: 8 kB/s", effect).replace("host: .slow.example, content: photo", when)


def test_a_matching_body_leaves_at_its_rate_and_unharmed() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert 0 < len(w.body()) < 1000  # headers and a first piece at once
        w.pass_time(1.0)
        assert len(w.body()) == pytest.approx(8000, rel=0.06)
        w.pass_time(1.6)
        assert w.body() == BODY
        assert w.hooks.count("response") == 1
        assert w.nothing_left()


def test_what_does_not_match_is_not_touched() -> None:
    with wire(SLOW) as w:
        w.request(GET.replace("slow", "other"))
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert w.body() == BODY
        assert not w.flows[0].marked
        assert not w.flows[0].response.stream


def test_a_slowed_flow_says_so() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        flow = w.flows[0]
        assert flow.marked == ":turtle:"
        assert "slowed by `photos` (policy.yaml:5)" in flow.comment
        assert "64 kbit/s" in flow.comment
        w.pass_time(5.0)
        assert "measured 6" in flow.comment
        record = flow.metadata["mitmthrottle"]
        assert record["measured_bytes_per_s"] == pytest.approx(8000, rel=0.01)
        assert record["outcome"] == "complete"
        http.HTTPFlow.from_state(flow.get_state())  # plain values: the flow can be saved


def test_chunked_bodies_end_properly() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond("HTTP/1.1 200 OK\nContent-Type: image/jpeg\nTransfer-Encoding: chunked\n\n")
        w.respond(b"1388\r\n" + BODY[:5000] + b"\r\n0\r\n\r\n")
        w.pass_time(2.0)
        assert w.received().endswith(b"\r\n0\r\n\r\n")
        assert w.nothing_left()
        w.request(GET)  # the connection is fit for another request
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(3.0)
        assert w.received().endswith(BODY)


def test_client_gone_ends_the_wait_and_the_origin() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.close(w.client)
        assert w.nothing_left()
        assert w.flows[0].metadata["mitmthrottle"]["outcome"] == "client-gone"
        assert w.servers[0] in w.closed


def test_origin_gone_loses_nothing_of_what_it_sent() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:9000])
        w.close(w.servers[0])
        assert w.body() == BODY[:9000]
        assert w.client in w.closed
        assert w.nothing_left()
        assert w.flows[0].metadata["mitmthrottle"]["outcome"] == "origin-gone"


def test_delay_holds_the_headers_too() -> None:
    with wire(with_effect("delay: 300 ms")) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(0.29)
        assert w.received() == b""
        w.pass_time(0.02)
        assert w.body() == BODY


@pytest.mark.parametrize("status", ["200 OK\nContent-Length: 0", "304 Not Modified"])
def test_delay_holds_without_a_body(status: str) -> None:
    with wire(with_effect("delay: 300 ms", "host: .slow.example")) as w:
        w.request(GET)
        w.respond(f"HTTP/1.1 {status}\n\n")
        w.pass_time(0.29)
        assert w.received() == b""
        w.pass_time(0.02)
        assert w.received().startswith(b"HTTP/1.1 " + status[:3].encode())
        assert w.nothing_left()


@pytest.mark.parametrize(("declared", "slowed"), [("image/jpeg", True), ("text/html", False)])
@pytest.mark.parametrize("size", [1, 50, 5000])
def test_of_several_ranges_the_first_part_tells_however_it_comes(
    declared: str, slowed: bool, size: int
) -> None:
    part = f"\r\n--B\r\nContent-Type: {declared}\r\nContent-Range: bytes 0-19999/90000\r\n\r\n"
    body = part.encode() + BODY + b"\r\n--B--\r\n"
    with wire(SLOW) as w:
        w.request(GET)
        w.respond("HTTP/1.1 206 Partial Content\nContent-Type: multipart/byteranges; boundary=B\n"
                  f"Content-Length: {len(body)}\n\n")  # fmt: skip
        for start in range(0, len(body), size):
            if start < len(part):
                assert w.received() == b""
            w.respond(body[start : start + size])
        if slowed:
            w.pass_time(1.0)
            assert len(w.body()) == pytest.approx(8000, rel=0.06)
            w.pass_time(2.0)
        assert w.body() == body
        assert w.nothing_left()


def test_the_first_bytes_tell_where_the_headers_do_not() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond("HTTP/1.1 200 OK\nContent-Type: application/octet-stream\n"
                  "Content-Length: 20000\n\n")  # fmt: skip
        assert w.received() == b""
        w.respond(b"\xff\xd8\xff\xe0" + BODY[4:])
        w.pass_time(1.0)
        assert len(w.body()) == pytest.approx(8000, rel=0.06)
        w.pass_time(2.0)
        assert w.body() == b"\xff\xd8\xff\xe0" + BODY[4:]


def test_first_bytes_of_something_else_set_it_free_as_it_was() -> None:
    with wire(SLOW) as w:
        w.request(GET.replace("p.jpg", "data"))
        w.respond("HTTP/1.1 200 OK\nContent-Type: application/octet-stream\n"
                  "Content-Length: 20000\n\n")  # fmt: skip
        w.respond(BODY)
        assert w.body() == BODY
        assert w.flows[0].response.content == BODY  # buffered, as without us
        assert not w.flows[0].marked
        assert w.nothing_left()


def test_a_size_that_is_not_declared_counts_when_it_is_seen() -> None:
    with wire(with_effect("rate: 8 kB/s", "host: .slow.example, size: '>= 10 kB'")) as w:
        w.request(GET)
        w.respond("HTTP/1.1 200 OK\nContent-Type: text/plain\nTransfer-Encoding: chunked\n\n")
        w.respond(b"1388\r\n" + BODY[:5000] + b"\r\n")
        free = len(w.received())
        assert free > 5000
        w.respond(b"3a98\r\n" + BODY[5000:] + b"\r\n0\r\n\r\n")
        w.pass_time(1.0)
        assert len(w.received()) - free == pytest.approx(8000, rel=0.1)
        w.pass_time(2.0)
        assert w.received().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("when", ["host: .slow.example", "host: .slow.example, content: photo"])
def test_block_with_a_status(when: str) -> None:
    with wire(with_effect("block: 451", when)) as w:
        w.request(GET)
        if "content" in when:  # only the response tells
            w.respond(HEAD_20K)
            w.respond(BODY)
            assert w.servers[0] in w.closed  # the origin need not go on
        else:
            assert not w.servers  # the origin was never asked
        assert w.received().startswith(b"HTTP/1.1 451 ")
        assert b"photos" in w.body()
        assert w.flows[0].metadata["mitmthrottle"]["outcome"] == "blocked"
        assert w.nothing_left()


def test_block_when_the_first_bytes_tell() -> None:
    with wire(with_effect("block: 451")) as w:
        w.request(GET)
        w.respond("HTTP/1.1 200 OK\nContent-Type: application/octet-stream\n"
                  "Content-Length: 20000\n\n")  # fmt: skip
        w.respond(b"\xff\xd8\xff\xe0" + BODY[4:])
        assert w.received().startswith(b"HTTP/1.1 451 ")
        assert b"\xff\xd8" not in w.received()


def test_block_by_reset_and_by_silence() -> None:
    with wire(with_effect("block: reset")) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        assert w.received() == b""
        assert w.client in w.closed
        assert w.nothing_left()
    with wire(with_effect("block: timeout")) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.pass_time(300)
        assert w.received() == b""
        w.close(w.client)
        assert w.nothing_left()


def test_a_response_made_by_an_addon_is_paced_too() -> None:
    def make(name: str, flow: http.HTTPFlow) -> None:
        if name == "request":
            flow.response = http.Response.make(200, BODY, {"Content-Type": "image/png"})

    with wire(SLOW) as w:
        w.hook = make
        w.request(GET)
        w.pass_time(1.0)
        assert len(w.body()) == pytest.approx(8000, rel=0.06)
        w.pass_time(2.0)
        assert w.body() == BODY


def test_an_error_of_ours_lets_the_flow_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(SLOW) as w:
        monkeypatch.setattr(w.engine, "decide", lambda exchange: 1 / 0)
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert w.body() == BODY
        assert w.engine.reports.counts["failed"] == 1


def test_an_error_while_pacing_lets_the_rest_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:10000])
        monkeypatch.setattr(Pace, "piece_bytes", lambda *args: 1 / 0)
        w.respond(BODY[10000:])
        w.pass_time(1.0)
        assert w.body() == BODY
        assert w.engine.reports.counts["failed"] == 1


def test_a_new_policy_changes_what_is_under_way() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(1.0)
        w.engine.change_policy(parse_policy(SLOW.replace("8 kB/s", "2 kB/s"), "policy.yaml"))
        before = len(w.body())
        w.pass_time(2.0)
        assert len(w.body()) - before == pytest.approx(4000, rel=0.1)
        gone = SLOW.replace("name: photos", "name: others")
        w.engine.change_policy(parse_policy(gone, "policy.yaml"))
        w.pass_time(0.1)
        assert w.body() == BODY


def test_tunnelled_requests_are_woken_through_both_layers() -> None:
    with wire(SLOW) as w:
        w.request("CONNECT a.slow.example:80 HTTP/1.1\n\n")
        assert b"200 Connection established" in w.received()
        w.request("GET /p.jpg HTTP/1.1\nHost: a.slow.example\n\n")
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(1.0)
        got = w.received().split(b"\r\n\r\n", 2)[2]
        assert len(got) == pytest.approx(8000, rel=0.06)
        w.pass_time(2.0)
        assert w.received().endswith(BODY)
        assert w.nothing_left()
