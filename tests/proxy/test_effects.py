"""What each effect looks like on the wire, on a fake clock."""

from __future__ import annotations

import pytest
from mitmproxy import exceptions

from mitmthrottle.policy import parse_policy

from .playbook import Wire, wire
from .test_http_stream import BODY, GET, HEAD_20K, SLOW, with_effect

HOST_ONLY = "host: .slow.example"


def begin(w: Wire) -> None:
    w.request(GET)
    w.respond(HEAD_20K)
    w.respond(BODY)


def test_stall_holds_at_its_byte_and_goes_on() -> None:
    with wire(with_effect("stall: {after: 4 kB, for: 10 s, every: 8 kB}")) as w:
        begin(w)
        assert len(w.body()) == 4000
        w.pass_time(9.9)
        assert len(w.body()) == 4000
        w.pass_time(0.2)
        assert len(w.body()) == 12000
        w.pass_time(10)
        assert w.body() == BODY
        assert w.nothing_left()


def test_stall_and_rate_compose() -> None:
    with wire(with_effect("rate: 8 kB/s, stall: {after: 4 kB, for: 10 s}")) as w:
        begin(w)
        w.pass_time(10.4)
        assert len(w.body()) == 4000
        w.pass_time(1.1)
        assert len(w.body()) == pytest.approx(12000, rel=0.15)
        w.pass_time(2)
        assert w.body() == BODY


@pytest.mark.parametrize("how", ["reset", "close"])
def test_cut_ends_it_at_its_byte(how: str) -> None:
    with wire(with_effect(f"cut: {{after: 4 kB, how: {how}}}")) as w:
        begin(w)
        assert w.body() == BODY[:4000]
        assert w.client in w.closed
        assert w.servers[0] in w.closed
        assert w.flows[0].metadata["mitmthrottle"]["outcome"] == "cut"
        assert w.nothing_left()


def test_a_policer_shows_a_saw_tooth() -> None:
    with wire(with_effect("rate: 8 kB/s, as: policer, burst: 4 kB")) as w:
        begin(w)
        assert len(w.body()) == 4000  # what the bucket holds, at line speed
        w.pass_time(0.45)
        assert len(w.body()) == 4000  # silence until it has refilled
        w.pass_time(0.1)
        assert len(w.body()) == 8000


def test_quota_is_full_speed_until_used_up() -> None:
    with wire(with_effect("rate: 8 kB/s, quota: {free: 12 kB, per: client}")) as w:
        begin(w)
        assert 12000 <= len(w.body()) < 12800
        w.pass_time(2)
        assert w.body() == BODY
        w.request(GET)  # nothing free is left for this client
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert len(w.received().rpartition(b"\r\n\r\n")[2]) < 800


def test_stages_change_what_is_under_way() -> None:
    stages = "stages: [{for: 1 s, rate: 8 kB/s}, {for: 1 s, rate: 2 kB/s}, {pass: true}]"
    with wire(with_effect(stages)) as w:
        begin(w)
        w.pass_time(1.0)
        assert len(w.body()) == pytest.approx(8000, rel=0.06)
        before = len(w.body())
        w.pass_time(0.99)
        assert len(w.body()) - before == pytest.approx(2000, rel=0.2)
        w.pass_time(0.1)
        assert w.body() == BODY


def test_stages_from_the_response_begin_with_each() -> None:
    stages = "stages: [{for: 1 s, rate: 8 kB/s}, {rate: 2 kB/s}], from: response"
    with wire(with_effect(stages)) as w:
        w.pass_time(30)
        begin(w)
        w.pass_time(1.0)
        assert len(w.body()) == pytest.approx(8000, rel=0.06)
        before = len(w.body())
        w.pass_time(2.0)
        assert len(w.body()) - before == pytest.approx(4000, rel=0.15)


def test_a_stage_that_blocks_ends_what_is_under_way_and_refuses_the_next() -> None:
    with wire(with_effect("stages: [{for: 1 s, rate: 8 kB/s}, {block: 451}]", HOST_ONLY)) as w:
        begin(w)
        w.pass_time(1.1)
        assert w.client in w.closed
        assert w.flows[0].metadata["mitmthrottle"]["outcome"] == "blocked"
        assert w.nothing_left()


UPLOAD = with_effect("upload: {rate: 8 kB/s, delay: 200 ms}", HOST_ONLY)
POST = (
    "POST http://a.slow.example/up HTTP/1.1\nHost: a.slow.example\n"
    "Content-Type: image/jpeg\nContent-Length: 20000\n\n"
)


def test_an_upload_leaves_at_its_rate_and_unharmed() -> None:
    with wire(UPLOAD) as w:
        w.request(POST)
        w.send(BODY)
        w.pass_time(0.19)
        assert not w.servers
        w.pass_time(1.01)
        got = w.at_origin().partition(b"\r\n\r\n")[2]
        assert len(got) == pytest.approx(8000, rel=0.08)
        w.pass_time(2.0)
        assert w.at_origin().endswith(BODY)
        w.respond("HTTP/1.1 204 No Content\n\n")
        assert w.received().startswith(b"HTTP/1.1 204")
        assert w.flows[0].metadata["mitmthrottle"]["upload"]["measured_bytes_per_s"] == (
            pytest.approx(8000, rel=0.02)
        )
        assert w.nothing_left()


def test_an_upload_whose_client_goes_ends() -> None:
    with wire(UPLOAD) as w:
        w.request(POST)
        w.send(BODY[:5000])
        w.pass_time(0.3)
        w.close(w.client)
        assert w.nothing_left()


def test_commands_switch_rules_and_change_rates() -> None:
    with wire(SLOW) as w:
        begin(w)
        w.pass_time(1.0)
        w.addon.rate("photos", "2 kB/s")
        before = len(w.body())
        w.pass_time(2.0)
        assert len(w.body()) - before == pytest.approx(4000, rel=0.1)
        assert "now 16 kbit/s" in w.addon.status()
        w.addon.disable("photos")
        w.pass_time(0.01)
        assert w.body() == BODY
        assert "switched off" in w.addon.status()
        w.addon.enable("photos")
        assert "8 kB/s" in w.addon.status() or "64 kbit/s" in w.addon.status()


def test_commands_that_cannot_be_carried_out_say_why() -> None:
    with wire(SLOW) as w:
        with pytest.raises(exceptions.CommandError, match="did you mean `photos`"):
            w.addon.disable("photo")
        with pytest.raises(exceptions.CommandError, match="unit"):
            w.addon.rate("photos", "128")


def test_an_override_lies_over_a_new_policy_too() -> None:
    with wire(SLOW) as w:
        w.addon.disable("photos")
        w.addon._reloaded(parse_policy(SLOW, "policy.yaml"))
        begin(w)
        assert w.body() == BODY


def test_commands_come_as_options_too() -> None:
    with wire(SLOW) as w:
        w.options.throttle_commands = ['throttle.rate photos "2 kB/s"']
        assert "now 16 kbit/s" in w.addon.status()
        with pytest.raises(exceptions.OptionsError, match=r"not a throttle\.\* command"):
            w.options.throttle_commands = ["flow.kill @all"]
        with pytest.raises(exceptions.OptionsError, match="did you mean `photos`"):
            w.options.throttle_commands = ["throttle.disable phots"]
