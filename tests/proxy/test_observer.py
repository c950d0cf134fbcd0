"""What those who watch are told, and that they cannot do harm."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path

import pytest
from mitmproxy import http

from mitmthrottle.policy import Decision, Exchange, Policy, PolicyError, parse_policy
from mitmthrottle.proxy.observer import EndedBody, Observer
from mitmthrottle.proxy.record import BodySnapshot, Record

from .playbook import Wire, wire
from .relayed import relay
from .test_http_stream import BODY, GET, HEAD_20K, SLOW, with_effect
from .test_relay import DATA, NAMED
from .test_relay import SLOW as SLOW_OPAQUE

OTHER = GET.replace("slow", "other")
PASS = """
version: 1
name: test
rules:
  - name: thumbnails
    when: {host: .slow.example, path: "/p*"}
    then: {pass: true}
  - name: photos
    when: {host: .slow.example, content: photo}
    then: {rate: 8 kB/s}
"""


class Notes(Observer):
    def __init__(self, *, unmatched: bool = False) -> None:
        self.wants_unmatched = unmatched
        self.policies: list[tuple[str, int]] = []
        self.decisions: list[tuple[str, Decision]] = []
        self.exchanges: list[Exchange] = []
        self.begun: list[BodySnapshot] = []
        self.records: list[Record] = []
        self.failures: list[str] = []
        self.refused: list[PolicyError] = []
        self.ends = 0

    def policy_in_force(self, policy: Policy, path: Path | None, reloads: int) -> None:
        self.policies.append((policy.name, reloads))

    def policy_refused(self, error: PolicyError) -> None:
        self.refused.append(error)

    def decided(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        self.decisions.append((flow.id, decision))
        self.exchanges.append(exchange)

    def began(self, body: BodySnapshot) -> None:
        self.begun.append(body)

    def ended(self, record: EndedBody) -> None:
        self.records.append(record.record())

    def failed(self, what: str) -> None:
        self.failures.append(what)

    def stopped(self) -> None:
        self.ends += 1

    def rules(self) -> list[str | None]:
        return [each.rule.name if each.rule else None for _, each in self.decisions]


def observed(w: Wire, *, unmatched: bool = False) -> Notes:
    notes = Notes(unmatched=unmatched)
    w.addon.observe(notes)
    return notes


def test_a_slowed_response_is_told_from_its_headers_to_its_end() -> None:
    with wire(SLOW) as w:
        notes = observed(w)
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert notes.rules() == ["photos"]
        (begun,) = notes.begun
        assert (begun.flow_id, begun.sent_bytes) == (w.flows[0].id, 0)
        (held,) = w.addon.snapshot().bodies
        assert held.waiting_bytes > 18_000
        assert begun.waiting_bytes == 0  # what was told is not changed afterwards
        w.pass_time(3)
        (record,) = notes.records
        assert record.rule is not None
        assert (record.kind, record.direction, record.rule.name) == ("response", "down", "photos")
        assert record.flow_id == w.flows[0].id == notes.decisions[0][0]
        assert record.asked_bytes_per_s == 8000
        assert record.measured_bytes_per_s == pytest.approx(8000, rel=0.01)
        assert (record.sent_bytes, record.outcome, record.content) == (20_000, "complete", "photo")
        assert record.duration_s == pytest.approx(2.475, abs=0.05)
        assert record.exchange.client_address == "198.18.0.7"


def test_who_comes_late_learns_what_is_in_force() -> None:
    with wire(SLOW) as w:
        assert observed(w).policies == [("test", 0)]


def test_unmatched_responses_are_not_even_looked_at_unless_wanted() -> None:
    with wire(SLOW) as w:
        notes = observed(w)
        w.request(OTHER)
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert not notes.decisions
        assert not notes.records
        assert w.engine.reports.unmatched == 1


@pytest.mark.parametrize("request_text", [OTHER, GET.replace("p.jpg", "p.txt")])
@pytest.mark.parametrize("streamed", [True, False])
def test_unmatched_responses_are_counted_where_wanted(request_text: str, streamed: bool) -> None:
    with wire(SLOW) as w:
        notes = observed(w, unmatched=True)
        if streamed:
            w.options.stream_large_bodies = "1"
        w.request(request_text)
        w.respond(HEAD_20K.replace("image/jpeg", "text/html"))
        assert notes.rules() == [None]
        assert not notes.records
        w.respond(BODY[:10_000])
        w.clock.time += 1.0
        w.respond(BODY[10_000:])
        assert w.body() == BODY
        assert not w.flows[0].marked
        (record,) = notes.records
        assert (record.rule, record.sent_bytes, record.outcome) == (None, 20_000, "complete")
        assert record.duration_s == 1.0
        assert record.exchange.status == 200
        # What was collected went out in one lump: there is no rate to tell.
        assert record.measured_bytes_per_s == (10_000 if streamed else None)


def test_who_does_not_want_unmatched_responses_is_told_only_of_their_end() -> None:
    with wire(SLOW) as w:
        one, other = observed(w, unmatched=True), observed(w)
        w.request(OTHER)
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert len(one.decisions) == len(one.records) == 1
        assert not other.decisions
        assert other.records == one.records


def test_who_wanted_a_response_is_told_of_its_end_whatever_it_wants_by_then() -> None:
    with wire(SLOW) as w:
        notes = observed(w, unmatched=True)
        w.request(OTHER)
        w.respond(HEAD_20K)
        notes.wants_unmatched = False
        w.respond(BODY)
        assert len(notes.records) == 1


@pytest.mark.parametrize("who", ["client", "origin"])
def test_who_left_an_unmatched_response(who: str) -> None:
    with wire(SLOW) as w:
        notes = observed(w, unmatched=True)
        w.request(OTHER)
        w.respond(HEAD_20K)
        w.respond(BODY[:10_000])
        w.close(w.client if who == "client" else w.servers[0])
        assert [record.outcome for record in notes.records] == [f"{who}-gone"]


def test_an_exception_is_told_with_its_rule_and_marks_nothing() -> None:
    with wire(PASS) as w:
        notes = observed(w)
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert w.body() == BODY
        assert notes.rules() == ["thumbnails"]
        (record,) = notes.records
        assert record.rule is not None
        assert (record.rule.name, record.asked_bytes_per_s) == ("thumbnails", None)
        assert not w.flows[0].marked


def test_an_exception_that_only_the_body_tells_of() -> None:
    with wire(PASS.replace('path: "/p*"', "content: photo, size: < 30 kB")) as w:
        notes = observed(w)
        w.request(GET)
        w.respond("HTTP/1.1 200 OK\nContent-Length: 20000\n\n")
        w.respond(b"\xff\xd8\xff\xe0" + BODY[4:])
        assert notes.rules() == [None, "thumbnails"]
        assert notes.decisions[0][1].needs_first_bytes
        (record,) = notes.records
        assert record.rule is not None
        assert record.rule.name == "thumbnails"
        assert not w.flows[0].marked


def test_a_response_that_turns_out_to_match_is_decided_twice() -> None:
    with wire(SLOW) as w:
        notes = observed(w)
        w.request(GET)
        w.respond("HTTP/1.1 200 OK\nContent-Length: 20000\n\n")
        w.respond(b"\xff\xd8\xff\xe0" + BODY[4:])
        assert notes.rules() == [None, "photos"]
        assert len({flow for flow, _ in notes.decisions}) == 1
        assert notes.exchanges[1].first_bytes is not None


def test_a_blocked_request_is_decided_and_ends_as_blocked() -> None:
    with wire(with_effect("block: 451", "host: .slow.example")) as w:
        notes = observed(w)
        w.request(GET)
        assert notes.rules() == ["photos"]
        assert [record.outcome for record in notes.records] == ["blocked"]
        assert not w.servers


def test_an_upload_has_a_record_of_its_own() -> None:
    with wire(with_effect("upload: {rate: 8 kB/s}", "host: .slow.example")) as w:
        notes = observed(w)
        w.request("POST http://a.slow.example/ HTTP/1.1\nHost: a.slow.example\n"
                  "Content-Length: 20000\n\n")  # fmt: skip
        w.send(BODY)
        w.pass_time(3)
        (record,) = notes.records
        assert (record.kind, record.direction, record.asked_bytes_per_s) == ("upload", "up", 8000)
        assert record.measured_bytes_per_s == pytest.approx(8000, rel=0.01)
        assert "upload: measured 6" in w.flows[0].comment


def test_both_ways_of_a_relayed_connection() -> None:
    with relay(SLOW_OPAQUE, NAMED, ignore=False) as r:
        notes = observed(r)
        r.say(r.server, DATA)
        r.say(r.client, DATA[:4000])
        r.pass_time(5)
        r.close(r.server)
        r.close(r.client)
        down, up = sorted(notes.records, key=lambda record: record.direction)
        assert (down.kind, down.direction, down.sent_bytes) == ("opaque", "down", len(DATA))
        assert (up.kind, up.direction, up.sent_bytes) == ("opaque", "up", 4000)
        assert r.tcp_flow.marked == ":turtle:"
        assert "down: measured 6" in r.tcp_flow.comment
        assert "up: measured 6" in r.tcp_flow.comment
        assert r.tcp_flow.metadata["mitmthrottle"]["down"]["bytes"] == len(DATA)


def test_a_watcher_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        wants_unmatched = True

        def decided(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
            raise RuntimeError("decided")

        def began(self, body: BodySnapshot) -> None:
            raise RuntimeError("began")

        def ended(self, record: EndedBody) -> None:
            raise RuntimeError("ended")

    with wire(SLOW) as w:
        w.addon.observe(Broken())
        notes = observed(w)
        with caplog.at_level(logging.ERROR):
            for _ in range(2):
                w.request(GET)
                w.respond(HEAD_20K)
                w.respond(BODY)
                w.pass_time(3)
        assert w.body().endswith(BODY)
        assert len(notes.records) == len(notes.begun) == len(notes.decisions) == 2
        assert w.addon.observers.faults == {
            "Broken.decided": 2,
            "Broken.began": 2,
            "Broken.ended": 2,
        }
        assert len(caplog.records) == 3  # each said once
        assert w.engine.reports.counts["failed"] == 0


def test_an_error_of_ours_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(SLOW) as w:
        notes = observed(w)
        monkeypatch.setattr(w.engine, "decide", lambda exchange: 1 / 0)
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        assert w.body() == BODY
        assert notes.failures == ["http://a.slow.example/p.jpg"]


def test_policies_that_come_and_go_are_told() -> None:
    with wire(SLOW) as w:
        notes = observed(w)
        w.addon._reloaded(parse_policy(SLOW.replace("8 kB/s", "16 kB/s"), "policy.yaml"))
        w.addon.disable("photos")
        w.addon.enable("photos")
        error = PolicyError(())
        w.addon._broken(error)
        assert notes.policies == [("test", 0), ("test", 1), ("test", 1), ("test", 1)]
        assert notes.refused == [error]
        w.addon._stop()
        assert notes.ends == 1


def test_the_version_says_which_text_decided_and_whether_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(SLOW)
    sha256sum = hashlib.sha256(path.read_bytes()).hexdigest()[:12]

    async def versions() -> list[str]:
        with wire(SLOW) as w:
            w.addon._load(str(path))
            found = [w.engine.version]
            w.addon.rate("photos", "16 kB/s")
            found.append(w.engine.version)
            w.addon.enable("photos")
            found.append(w.engine.version)
            w.addon._stop()
            return found

    assert asyncio.run(versions()) == [sha256sum, f"{sha256sum}+", sha256sum]
