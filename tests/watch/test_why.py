"""`throttle.why FLOW`, for live flows and saved ones."""

from __future__ import annotations

import io

import pytest
from mitmproxy import ctx, exceptions, http
from mitmproxy.addons.view import View
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.test import tflow

from mitmthrottle.policy import Policy, parse_policy
from mitmthrottle.watch.why import Why, why
from tests.proxy.playbook import wire
from tests.proxy.relayed import relay
from tests.proxy.test_http_stream import BODY, GET, HEAD_20K, SLOW, with_effect
from tests.proxy.test_relay import DATA, NAMED
from tests.proxy.test_relay import SLOW as SLOW_OPAQUE

TWO = """
version: 1
name: two
rules:
  - name: large photos
    when: {host: .slow.example, content: photo, size: ">= 1 MB"}
    then: {rate: 8 kB/s}
  - name: phones
    when: {host: .slow.example, client: {device: mobile}}
    then: {rate: 16 kB/s}
"""


def policy(text: str) -> Policy:
    return parse_policy(text, "policy.yaml")


def saved(flow: http.HTTPFlow) -> http.HTTPFlow:
    file = io.BytesIO()
    FlowWriter(file).add(flow)
    file.seek(0)
    (read,) = FlowReader(file).stream()
    assert isinstance(read, http.HTTPFlow)
    return read


def slowed(text: str = SLOW) -> http.HTTPFlow:
    with wire(text) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(3)
        return w.flows[0]


@pytest.mark.parametrize("from_file", [False, True])
def test_why_a_flow_was_slowed(from_file: bool) -> None:
    flow = saved(slowed()) if from_file else slowed()
    assert why(flow, policy(SLOW), None).splitlines() == [
        "slowed by `photos` (line 5 of the policy)",
        "asked 64 kbit/s, measured 64 kbit/s, 20000 bytes in 2.475 s, held back for 2.475 s"
        " (complete)",
        "rule:    photos (line 5)",
        "effects: 64 kbit/s per response",
        "content: photo",
    ]


@pytest.mark.parametrize("from_file", [False, True])
def test_why_not_names_the_condition_of_each_rule(from_file: bool) -> None:
    flow = slowed(TWO)
    assert why(saved(flow) if from_file else flow, policy(TWO), None).splitlines() == [
        "no rule matches: left alone",
        "content: photo",
        "why not:",
        "  large photos",
        "    size: size 20 kB (20000 bytes) is not `>= 1 MB`",
        "  phones",
        "    client: the client is not `the one asked for`: its device is unknown",
    ]


def test_what_the_policy_would_do_by_now() -> None:
    text = why(slowed(), policy(TWO.replace(">= 1 MB", ">= 1 kB")), None)
    assert "slowed by `photos` (line 5 of the policy)" in text
    assert "by now the policy would do something else:\nrule:    large photos (line 5)" in text


def test_one_that_a_newer_policy_would_slow() -> None:
    text = why(slowed(TWO), policy(SLOW), None)
    assert text.startswith("it was not slowed; the policy in force now says:\nrule:    photos")


def test_a_saved_flow_is_judged_at_its_own_time() -> None:
    flow = slowed(TWO)
    assert flow.response is not None
    flow.response.timestamp_start = 1_615_363_200.0  # 2021-03-10 08:00 UTC
    then = SLOW.replace(
        "content: photo}", "active: {from: 2021-03-10T00:00Z, until: 2021-03-11T00:00Z}}"
    )
    assert "rule:    photos" in why(flow, policy(then), None)


def test_without_a_policy() -> None:
    assert why(tflow.tflow(resp=True), None, None) == "no policy is in force now"
    assert why(slowed(), None, None).startswith("slowed by `photos`")


def test_one_that_is_under_way() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        text = Why(w.addon).why(w.flows[0])
        assert text.splitlines()[:2] == [
            "slowed by `photos` (line 5 of the policy)",
            "still under way",
        ]


def test_an_upload_and_a_relayed_connection() -> None:
    with wire(with_effect("upload: {rate: 8 kB/s}", "host: .slow.example")) as w:
        w.request("POST http://a.slow.example/ HTTP/1.1\nHost: a.slow.example\n"
                  "Content-Length: 20000\n\n")  # fmt: skip
        w.send(BODY)
        w.pass_time(3)
        assert "upload: asked 64 kbit/s, measured 64" in Why(w.addon).why(w.flows[0])
    with relay(SLOW_OPAQUE, NAMED, ignore=False) as r:
        r.say(r.server, DATA)
        r.pass_time(5)
        r.close(r.server)
        r.close(r.client)
        text = Why(r.addon).why(r.tcp_flow)
        assert "to the client: asked 64 kbit/s, measured 64" in text
        assert "to the server: asked 64 kbit/s, too short to be measured, 0 bytes" in text
        assert "opaque:  nothing but host, port and client is known" in text


def test_a_share_of_responses_is_said_to_be_drawn() -> None:
    text = SLOW.replace("content: photo", "share: {of: responses, percent: 10}")
    assert "a share of responses is drawn for each anew" in why(slowed(TWO), policy(text), None)


def test_the_command_takes_a_flow_as_mitmproxy_names_them() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(3)
        master = ctx.master
        view = View()
        master.addons.add(view, Why(w.addon))
        view.add(w.flows)
        text = master.commands.execute("throttle.why @all")
        assert text.startswith("slowed by `photos`")
        with pytest.raises(exceptions.CommandError):
            master.commands.execute("throttle.why ~d/nowhere")


def test_what_is_never_slowed() -> None:
    assert why(tflow.tdnsflow(), policy(SLOW), None) == "a DNSFlow is never slowed"
