"""What the page is told: decisions with their reasons, rates, and nothing that is not the
reader's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from mitmproxy.test import tflow

from mitmthrottle.policy import Decision, Exchange, PolicyError, parse_policy
from mitmthrottle.policy.language.problems import Problem
from mitmthrottle.watch.page import state as kept
from mitmthrottle.watch.page.api import State
from mitmthrottle.watch.page.peers import Peers
from mitmthrottle.watch.page.samples import KEPT, JustEnded, Samples
from mitmthrottle.watch.page.state import PageState
from mitmthrottle.watch.page.view import Reading, View

from ..proxy.playbook import Wire, wire
from .records import record, rule

POLICY = """
version: 1
name: seen
rules:
  - name: photos
    when: {host: photos.example, content: photo}
    then: {rate: 16 kB/s}
  - name: ladder
    when: {host: ladder.example}
    then: {stages: [{for: 60 s, rate: 5 Mbit/s}, {rate: 64 kbit/s}]}
  - name: exception
    when: {host: free.example}
    then: {pass: true}
  - name: at night
    when: {host: night.example, active: {from: 2001-01-01T00:00Z, until: 2001-01-02T00:00Z}}
    then: {delay: 1 s}
"""
PHOTO = "HTTP/1.1 200 OK\nContent-Type: image/jpeg\nContent-Length: 32000\n\n"
TEXT = "HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Length: 2\n\nok"
TRUSTED = Reading("127.0.0.1", True, None, "token")
OTHER = Reading("198.18.0.8", False, "you are another", None)
SAME = Reading("198.18.0.7", False, "you are another", None)


@dataclass
class Seen:
    """A connection, and what is seen of it."""

    wire: Wire
    page_state: PageState
    samples: Samples
    view: View
    unix_time: float = 1000.0

    def get(self, url: str, response: str | bytes) -> None:
        host = url.split("/")[2]
        self.page_state.asked(host)
        self.wire.request(f"GET {url} HTTP/1.1\nHost: {host}\nUser-Agent: a phone\n\n")
        self.wire.respond(response)

    def sample(self) -> None:
        ended, self.page_state.just_ended = self.page_state.just_ended, JustEnded()
        totals = {name: tally.ended_bytes for name, tally in self.page_state.rules.items()}
        bodies = self.wire.addon.snapshot().bodies
        self.samples.take(self.wire.clock.time, bodies, totals, ended)

    def state(self, reading: Reading = TRUSTED) -> State:
        return self.view.state(self.wire.addon.snapshot(), reading)


@contextmanager
def seen(policy: str = POLICY) -> Iterator[Seen]:
    with wire(policy) as connection:
        page_state, samples = PageState(), Samples()
        connection.addon.observe(page_state)
        peers = Peers(connection.addon, page_state, samples, lambda: "here:8080")
        view = View(
            page_state,
            samples,
            lambda: ["127.0.0.1:8080"],
            lambda agent: None,
            peers,
        )
        yield Seen(connection, page_state, samples, view)


def test_a_photo_from_its_decision_to_its_end() -> None:
    with seen() as see:
        see.get(
            "http://photos.example/a.jpg?b", PHOTO.replace("\n", "\r\n").encode() + bytes(20000)
        )
        see.sample()
        see.wire.pass_time(1)
        see.sample()
        state = see.state()
        (body,) = state["active"]
        assert (body["rule"], body["host"], body["path"]) == (
            "photos",
            "photos.example",
            "/a.jpg?b",
        )
        assert body["size_bytes"] == 32000
        assert 15000 < body["bytes"] <= 17000
        assert body["asked_bytes_per_s"] == 16000
        assert body["state"] == "paced"
        (row,) = state["decisions"]
        assert (row["rule"], row["line"], row["status"], row["outcome"]) == ("photos", 5, 200, None)
        assert row["reason"] == "`photos` holds"
        see.wire.respond(bytes(12000))
        see.wire.pass_time(3)
        state = see.state()
        assert state["active"] == []
        (row,) = state["decisions"]
        assert (row["outcome"], row["bytes"]) == ("complete", 32000)
        assert row["measured_bytes_per_s"] == pytest.approx(16000, rel=0.01)
        photos = state["rules"][0]
        assert (photos["matched"], photos["bytes"], photos["active"]) == (1, 32000, 0)
        assert state["totals"]["matched"] == 1
        assert state["clients"][0]["bytes"] == 32000
        json.dumps(state, allow_nan=False)


def test_asked_beside_measured_second_by_second() -> None:
    with seen() as see:
        body = PHOTO.replace("\n", "\r\n").encode() + bytes(32000)
        see.sample()
        see.get("http://photos.example/a.jpg", body)
        for _ in range(4):
            see.wire.pass_time(1)
            see.sample()
        photos = see.state()["rules"][0]
        assert photos["asked"][:2] == [16000, 16000]
        assert photos["measured"][:2] == pytest.approx([16000, 16000], rel=0.06)
        assert (photos["asked"][-1], photos["measured"][-1]) == (0, 0)
        assert see.state()["rules"][1]["measured"] == []


def test_only_newer_samples_where_the_reader_knows_the_others() -> None:
    with seen() as see:
        see.get("http://photos.example/a.jpg", PHOTO.replace("\n", "\r\n").encode() + bytes(32000))
        for _ in range(3):
            see.wire.pass_time(0.5)
            see.sample()
        last = see.state()["samples"]["last"]
        assert last == 3
        assert len(see.state()["rules"][0]["measured"]) == 3
        newer = see.state(Reading("127.0.0.1", True, None, None, since=2))
        assert len(newer["rules"][0]["measured"]) == 1
        none = see.state(Reading("127.0.0.1", True, None, None, since=99))
        assert none["rules"][0]["measured"] == []


def test_samples_of_idle_rules_are_forgotten() -> None:
    samples = Samples()
    samples.take(0.0, (), {"a": 10})
    assert samples.series["a"].measured[-1] == 10
    for second in range(1, KEPT + 2):
        samples.take(float(second), (), {"a": 10})
    assert samples.series == {}


def test_what_short_responses_might_have_had_is_asked_too() -> None:
    own, shared = JustEnded(), JustEnded()
    for _ in range(3):
        own.add(record(asked_bytes_per_s=8000.0, duration_s=0.25))
        limit = rule("shared", "rate: {limit: 8 kB/s, per: client}")
        shared.add(record(rule=limit, asked_bytes_per_s=8000.0, duration_s=0.25))
    shared.add(record(rule=None, asked_bytes_per_s=None))
    asked = {"photos": 1000.0, "shared": 1000.0}
    own.add_to(asked, 2.0)
    shared.add_to(asked, 2.0)
    assert asked == {"photos": 1000.0 + 3 * 1000.0, "shared": 1000.0}


def test_why_not_in_a_sentence() -> None:
    with seen() as see:
        see.page_state.looked_at()
        see.get("http://photos.example/a.html", TEXT)
        see.get("http://elsewhere.example/", TEXT)
        see.get("http://free.example/", TEXT)
        see.get("http://night.example/", TEXT)
        night, free, elsewhere, photos = see.state()["decisions"]
        assert photos["reason"].startswith("`photos` does not hold: content is neither")
        assert photos["why_not"][0]["condition"] == "content"
        assert elsewhere["reason"] == "no rule is for the host elsewhere.example"
        assert free["reason"] == "`exception` holds and leaves it alone"
        assert night["reason"].startswith("`at night` does not hold: ")
        assert night["why_not"][0]["condition"] == "active"


def test_unmatched_hosts_cost_nothing_while_nobody_looks() -> None:
    now = [0.0]
    page_state = PageState(lambda: now[0])
    assert not page_state.wants_unmatched
    page_state.looked_at()
    assert page_state.wants_unmatched
    now[0] = kept.LOOKED_AT_S + 1
    page_state.tick()
    assert not page_state.wants_unmatched


def test_being_looked_at_costs_a_bounded_number_of_unmatched_responses() -> None:
    page_state = PageState(lambda: 0.0)
    page_state.looked_at()
    for tick in (1, 2):
        taken = 0
        while page_state.wants_unmatched:
            page_state.decided(tflow.tflow(), Exchange(host="other.example"), Decision(None))
            taken += 1
        assert taken == kept.MOST_UNMATCHED
        assert len(page_state.rows) == tick * taken
        page_state.looked_at()  # looking more often does not take more
        assert not page_state.wants_unmatched
        page_state.tick()


def test_what_a_rule_does_now() -> None:
    with seen() as see:
        photos, ladder, exception, night = see.state()["rules"]
        assert photos["says_now"] == photos["effects"] == "128 kbit/s per response"
        assert photos["hosts"] == ["photos.example"]
        assert ladder["says_now"] == "5 Mbit/s per response"
        assert ladder["stage"] is not None
        assert (ladder["stage"]["number"], ladder["stage"]["of"]) == (1, 2)
        assert ladder["stage"]["ends_in_s"] == pytest.approx(60)
        assert exception["says_now"] == "pass"
        assert not night["in_force"]
        see.wire.pass_time(61)
        ladder = see.state()["rules"][1]
        assert ladder["says_now"] == "64 kbit/s per response"
        assert ladder["stage"] == {"number": 2, "of": 2, "ends_in_s": None}


def test_a_rule_that_is_switched_off_stays_in_the_list() -> None:
    with seen() as see:
        see.page_state.looked_at()
        see.wire.addon.control.disable("photos", "")
        photos = see.state()["rules"][0]
        assert photos["switched_off"]
        assert photos["says_now"] == "switched off"
        assert photos["effects"] == "128 kbit/s per response"
        photo = PHOTO.replace("\n", "\r\n").encode() + bytes(32000)
        see.get("http://photos.example/a.jpg", photo)
        (row,) = see.state()["decisions"]
        assert row["reason"] == "`photos` is switched off"
        see.wire.addon.control.enable("photos", "")
        assert not see.state()["rules"][0]["switched_off"]
        (row,) = see.state()["decisions"]
        assert row["rule"] is None
        assert row["reason"] == "`photos` would hold now, but was off or another one then"


def test_nobody_sees_the_traffic_of_another_client() -> None:
    with seen() as see:
        see.page_state.looked_at()
        see.get("http://photos.example/secret.jpg", PHOTO.replace("\n", "\r\n").encode() + b"1")
        see.page_state.distrusted("secret.example")
        see.page_state.failed("GET secret.example/secret")
        see.page_state.policy_refused(PolicyError([Problem("/secret/p.yaml", 1, 1, "secret")]))
        see.page_state.policy_in_force(see.wire.engine.policy, None, 0)
        for reading in (TRUSTED, SAME):
            assert see.state(reading)["active"][0]["path"] == "/secret.jpg"
        other = see.state(OTHER)
        assert (other["active"], other["decisions"], other["clients"]) == ([], [], [])
        assert "secret" not in json.dumps(other)
        assert other["totals"]["active"] == 1
        assert other["reader"] == {
            "address": "198.18.0.8",
            "sees": "own",
            "may_switch": False,
            "why_not": "you are another",
            "token": None,
        }
        own = see.state(SAME)
        assert own["hosts_seen"] == [] == own["untrusting"]
        assert see.view.policy_text(SAME) is None


def test_a_refused_version_is_told_until_a_good_one_comes() -> None:
    with seen() as see:
        see.page_state.policy_refused(
            PolicyError([Problem("p.yaml", 5, 34, "unknown key `contnet`")])
        )
        policy = see.state()["policy"]
        assert policy is not None
        assert policy["refused"] is not None
        assert policy["refused"]["faults"] == ["p.yaml:5:34: unknown key `contnet`"]
        see.wire.addon.control.disable("photos", "")  # a rule is switched meanwhile
        policy = see.state()["policy"]
        assert policy is not None
        assert policy["refused"] is not None
        see.page_state.policy_in_force(see.wire.engine.policy, None, 1)
        policy = see.state()["policy"]
        assert policy is not None
        assert policy["refused"] is None


def test_why_nothing_is_slowed() -> None:
    with seen() as see:
        hint = see.state()["hint"]
        assert hint is not None
        assert hint["kind"] == "no-traffic"
        assert "127.0.0.1:8080" in hint["text"]
        see.page_state.distrusted("photos.example")
        assert see.state()["hint"]["kind"] == "untrusted"  # type: ignore[index]  # it is there
        see.get("http://elsewhere.example/", TEXT)
        assert see.state()["hint"]["kind"] == "other-hosts"  # type: ignore[index]
        assert see.state()["hosts_wanted"][0] == "photos.example"
        see.get("http://photos.example/", TEXT)
        assert see.state()["hint"]["kind"] == "conditions"  # type: ignore[index]
        see.get("http://photos.example/a.jpg", PHOTO.replace("\n", "\r\n").encode() + b"1")
        assert see.state()["hint"] is None


def test_everything_is_bounded() -> None:
    page_state = PageState()
    policy = parse_policy(POLICY, "p.yaml")
    for number in range(2000):
        exchange = Exchange(
            f"h{number}.example", client_address=f"10.0.{number // 256}.{number % 256}"
        )
        page_state.asked(exchange.host)
        page_state.distrusted(exchange.host)
        page_state.failed(exchange.host)
        page_state.decided(tflow.tflow(), exchange, Decision(policy.rules[0]))
    assert page_state.requests == page_state.matched == page_state.failed_count == 2000
    assert len(page_state.rows) == kept.MOST_ROWS
    assert len(page_state.clients) == kept.MOST_CLIENTS
    assert len(page_state.hosts) == len(page_state.untrusting) == kept.MOST_HOSTS
    assert len(page_state.failures) == kept.MOST_FAILURES
    assert list(page_state.rows.values())[-1].exchange.host == "h1999.example"


def test_thousands_of_rules_are_not_sent_each_second() -> None:
    rules = "\n".join(
        f"  - {{name: r{n}, when: {{host: h{n}.example, path: /x}}, then: {{delay: 1 s}}}}"
        for n in range(2000)
    )
    with seen(f"version: 1\nname: many\nrules:\n{rules}\n") as see:
        see.page_state.looked_at()
        see.get("http://h1999.example/x", TEXT)
        see.wire.pass_time(2)
        see.get("http://h1998.example/y", TEXT)
        state = see.state()
        assert len(state["rules"]) == 200
        assert state["rules"][0]["name"] == "r1999"  # what has had something to do comes first
        assert state["policy"] is not None
        assert state["policy"]["rules"] == 2000
        unmatched, matched = state["decisions"]
        assert matched["rule"] == "r1999"
        assert "mitmthrottle explain" in unmatched["reason"]
