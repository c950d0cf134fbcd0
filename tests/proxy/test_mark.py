"""What a flow says of itself where mitmproxy shows or exports it."""

from __future__ import annotations

import json

import pytest
from mitmproxy.addons.savehar import SaveHar
from mitmproxy.tools.web.app import flow_to_json
from wsproto.events import TextMessage

from .playbook import Wire, wire
from .test_http_stream import BODY, GET, HEAD_20K, SLOW
from .test_websocket import SLOW as SLOW_MESSAGES
from .test_websocket import Talk

SAID = (
    "slowed by `photos` (policy.yaml:5): 64 kbit/s per response; "
    "measured 64 kbit/s; 20000 bytes in 2.475 s (complete)"
)


def slowed(w: Wire) -> None:
    w.request(GET)
    w.respond(HEAD_20K)
    w.respond(BODY)
    w.pass_time(3)


def test_mitmweb_shows_it() -> None:
    with wire(SLOW) as w:
        slowed(w)
        shown = flow_to_json(w.flows[0])
        assert shown["comment"] == SAID
        assert shown["marked"] == "\N{TURTLE}"


@pytest.mark.parametrize("end", ["complete", "client-gone", "origin-gone"])
def test_it_is_said_before_mitmproxys_last_hook(end: str) -> None:
    """Behind that hook, mitmproxy tells its interfaces that the flow has changed; we do not."""
    said: list[tuple[str, object]] = []
    with wire(SLOW) as w:
        w.hook = lambda name, flow: said.append(
            (name, flow.metadata.get("mitmthrottle", {}).get("outcome"))
        )
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY if end == "complete" else BODY[:10_000])
        w.pass_time(0.5)
        if end == "complete":
            w.pass_time(3)
        else:
            w.close(w.client if end == "client-gone" else w.servers[0])
            w.pass_time(1)
    assert said[-1] == ("response" if end == "complete" else "error", end)


def test_a_har_file_holds_it() -> None:
    with wire(SLOW) as w:
        slowed(w)
        w.request(GET.replace("slow", "other"))
        w.respond(HEAD_20K)
        w.respond(BODY)
        har = json.loads(json.dumps(SaveHar().make_har(w.flows)))
        one, other = har["log"]["entries"]
        assert one["comment"] == SAID
        assert one["_mitmthrottle"]["measured_bytes_per_s"] == pytest.approx(8000, rel=0.01)
        assert "comment" not in other
        assert "_mitmthrottle" not in other


def test_a_websocket_tells_of_both_ways() -> None:
    with wire(SLOW_MESSAGES) as w:
        talk = Talk(w)
        talk.from_server(TextMessage("a" * 20_000))
        w.pass_time(4)
        w.close(w.client)
        flow = w.flows[0]
        assert "down: measured 64" in flow.comment
        assert "up: " in flow.comment
        assert flow.metadata["mitmthrottle"]["down"]["bytes"] > 20_000
