"""Orders of events that are rare: the throttle ends, a flow is killed, both bodies at once."""

from __future__ import annotations

import pytest
from mitmproxy import http

from .playbook import wire
from .test_body_life import CHUNKED, POST, SHORT, outcome, policy
from .test_http_stream import BODY, GET, HEAD_20K, SLOW

UPLOAD = "upload: {rate: 8 kB/s}"


# -- the throttle ends


@pytest.mark.parametrize(
    "effect", ["rate: 8 kB/s", "delay: 1 h", "block: reset", "requests: 1 / h"]
)
def test_a_response_that_begins_after_the_throttle_has_stopped_is_not_held(effect: str) -> None:
    when = "host: .slow.example, content: photo"
    with wire(policy(effect, when)) as w:
        w.request(GET)
        w.engine.stop()
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert w.body() == BODY
        assert w.nothing_left()


def test_an_upload_that_begins_after_the_throttle_has_stopped_is_not_held() -> None:
    with wire(policy(UPLOAD)) as w:
        w.engine.stop()
        w.request(POST)
        w.send(BODY)
        assert w.at_origin().endswith(BODY)
        assert w.nothing_left()


# -- killed


def test_a_kill_at_the_early_end_of_a_response_ends_the_upload_too() -> None:
    def kill(name: str, flow: http.HTTPFlow) -> None:
        if name == "response":
            flow.kill()

    with wire(policy(UPLOAD + ", rate: 1 MB/s")) as w:
        w.hook = kill
        w.request(POST)
        w.send(BODY[:10000])
        w.respond(SHORT)
        w.pass_time(0.5)
        assert w.client in w.closed
        assert w.flows[0].metadata["mitmthrottle"]["upload"]["outcome"] == "stopped"
        assert w.nothing_left()


def test_a_flow_that_is_killed_under_way_is_still_cut() -> None:
    with wire(policy("rate: 8 kB/s, cut: {after: 12 kB}")) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(0.5)
        w.flows[0].kill()
        w.pass_time(3.0)
        assert len(w.body()) == 12000
        assert w.client in w.closed
        assert w.nothing_left()


# -- what mitmproxy refuses


def test_a_response_that_mitmproxy_refuses_for_its_size_is_told_so() -> None:
    with wire(SLOW) as w:
        w.options.update(body_size_limit="10k")
        w.request(GET)
        w.respond(HEAD_20K)
        assert b"HTTP/1.1 502 " in w.received()
        assert outcome(w) == "stopped"
        assert w.nothing_left()


def test_an_upload_that_mitmproxy_refuses_for_its_size_is_told_so() -> None:
    with wire(policy(UPLOAD)) as w:
        w.options.update(body_size_limit="10k")
        w.request(POST)
        assert b"HTTP/1.1 413 " in w.received()
        assert w.flows[0].metadata["mitmthrottle"]["upload"]["outcome"] == "stopped"
        assert w.nothing_left()


def test_a_response_that_is_refused_under_an_upload_ends_that_too() -> None:
    with wire(policy(UPLOAD)) as w:
        w.options.update(body_size_limit="30k")
        w.request(POST)
        w.send(BODY[:10000])
        w.respond(HEAD_20K.replace("20000", "40000"))
        w.pass_time(5)
        assert w.flows[0].metadata["mitmthrottle"]["upload"]["outcome"] == "stopped"
        assert w.nothing_left()


# -- blocked


def test_a_blocked_response_stays_blocked_when_its_origin_goes() -> None:
    with wire(policy("block: reset, delay: 5 s", "host: .slow.example, content: photo")) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:10000])
        w.close(w.servers[-1])
        assert not w.received()
        w.pass_time(6)
        assert not w.received()
        assert w.client in w.closed
        assert outcome(w) == "blocked"
        assert w.nothing_left()


BLOCKED_WITH_AN_UPLOAD = """
version: 1
name: test
rules:
  - name: blocked
    when: {host: .slow.example, status: 200}
    then: {block: BLOCK}
  - name: slow
    when: {host: .slow.example}
    then: {upload: {rate: 8 kB/s}}
"""


@pytest.mark.parametrize("block", ["451", "reset"])
@pytest.mark.parametrize("request_", [POST, CHUNKED])
@pytest.mark.parametrize("paced", [True, False])
def test_a_response_is_blocked_while_its_request_is_still_coming(
    block: str, request_: str, paced: bool
) -> None:
    def stream(name: str, flow: http.HTTPFlow) -> None:
        if name == "requestheaders":
            flow.request.stream = True

    text = BLOCKED_WITH_AN_UPLOAD.replace("BLOCK", block)
    with wire(text if paced else text.partition("  - name: slow")[0]) as w:
        w.hook = stream
        w.request(request_)
        w.send(BODY[:10000] if request_ is POST else b"2710\r\n" + BODY[:10000] + b"\r\n")
        if paced:
            assert [body.part for body in w.engine.active()] == ["upload"]
        w.respond(SHORT)
        w.pass_time(0.1)
        w.send(BODY[10000:] if request_ is POST else b"5\r\nabcde\r\n0\r\n\r\n")
        w.pass_time(5)
        assert not w.body().endswith(b"abc")
        if block == "451":
            assert w.received().startswith(b"HTTP/1.1 451 ")
        else:
            assert w.client in w.closed
        assert outcome(w) == "blocked"
        assert w.nothing_left()


# -- answers of other addons


def test_an_answer_made_by_an_addon_passes_as_it_was_made() -> None:
    """mitmproxy gives it to no streaming callback."""

    def answer(name: str, flow: http.HTTPFlow) -> None:
        if name == "request":
            flow.response = http.Response.make(200, BODY, {"Content-Type": "image/jpeg"})
        elif name == "responseheaders":
            assert flow.response is not None
            flow.response.stream = lambda data: data.swapcase()

    with wire(SLOW) as w:
        w.hook = answer
        w.request(GET)
        w.pass_time(5)
        assert w.body() == BODY
        assert w.nothing_left()


# -- what is cut or blocked while something else ends

CHUNKED_HEAD = "HTTP/1.1 200 OK\nContent-Type: image/jpeg\nTransfer-Encoding: chunked\n\n"


@pytest.mark.parametrize("how", ["http/1.1 closed", "chunked"])
def test_an_origin_that_dies_lets_out_no_more_than_until_the_cut(how: str) -> None:
    with wire(policy("rate: 8 kB/s, cut: {after: 12 kB}")) as w:
        w.request(GET)
        w.respond(HEAD_20K if how != "chunked" else CHUNKED_HEAD)
        w.respond(BODY[:16000] if how != "chunked" else b"3e80\r\n" + BODY[:16000] + b"\r\n")
        w.pass_time(0.2)
        w.close(w.servers[-1])
        w.pass_time(3.0)
        text = w.received().partition(b"\r\n\r\n")[2]
        assert len(text) < 12_100
        if how != "chunked":
            assert text == BODY[:12000]
        assert w.client in w.closed
        assert outcome(w) == "cut"
        assert w.nothing_left()


def test_a_body_of_exactly_that_size_has_all_its_bytes_and_no_proper_end() -> None:
    with wire(policy("rate: 80 kB/s, cut: {after: 20 kB}")) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(3.0)
        assert w.body() == BODY
        assert w.client in w.closed
        assert outcome(w) == "cut"
        assert w.nothing_left()


def test_an_origin_that_dies_before_the_cut_is_told_as_gone() -> None:
    with wire(policy("rate: 8 kB/s, cut: {after: 12 kB}")) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:9000])
        w.pass_time(0.2)
        w.close(w.servers[-1])
        w.pass_time(3.0)
        assert w.body() == BODY[:9000]
        assert outcome(w) == "origin-gone"
        assert w.nothing_left()


def test_an_upload_ends_where_its_response_is_blocked() -> None:
    """Nobody would take the rest of it: the origin has been told that it is cancelled."""
    stages = "stages: [{for: 2 s, rate: 8 kB/s}, {block: 451}], delay: 10 s"
    with wire(policy(f"upload: {{rate: 2 kB/s}}, {stages}")) as w:
        w.request(POST)
        w.send(BODY[:10000])
        w.pass_time(0.5)
        w.respond(HEAD_20K)
        w.pass_time(12.0)
        assert b" 451 " in w.received()
        sent = w.at_origin().partition(b"\r\n\r\n")[2]
        assert len(sent) < 7000
        assert w.flows[0].metadata["mitmthrottle"]["upload"]["outcome"] == "blocked"
        assert outcome(w) == "blocked"
        w.send(BODY[10000:])
        w.pass_time(1.0)
        assert w.at_origin().partition(b"\r\n\r\n")[2] == sent
        assert w.nothing_left()
