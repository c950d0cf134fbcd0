"""Decisions and ends are told together a moment later: which of them, when, and as what."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from mitmproxy import flow as mflow

from mitmthrottle.policy import Policy
from mitmthrottle.proxy import observer, unpaced
from mitmthrottle.proxy.observer import TELL_EVERY_S, EndedBody, Observer
from mitmthrottle.proxy.record import Record
from mitmthrottle.proxy.unpaced import Unpaced

from .playbook import Wire, wire
from .test_http_stream import BODY, GET, HEAD_20K, SLOW
from .test_observer import OTHER, observed


class Later:
    """An event loop's `call_later`; what was put off comes when the test says so."""

    def __init__(self, w: Wire) -> None:
        self.put_off: list[tuple[float, Callable[[], None]]] = []
        w.addon.observers.tell_later(lambda *call: self.put_off.append(call))

    def come(self) -> None:
        put_off, self.put_off = self.put_off, []
        for _, call in put_off:
            call()


def fetch(w: Wire, request_text: str = OTHER) -> None:
    w.request(request_text)
    w.respond(HEAD_20K)
    w.respond(BODY)
    w.pass_time(3)


def test_ends_are_told_together_and_soon() -> None:
    with wire(SLOW) as w:
        notes, later = observed(w, unmatched=True), Later(w)
        for request_text in (OTHER, OTHER, GET):
            w.clock.time += 1.0
            fetch(w, request_text)
        # What no rule could match is told at once to those who want to know, who may have enough.
        assert notes.rules() == [None, None]
        assert not notes.records
        assert [delay_s for delay_s, _ in later.put_off] == [TELL_EVERY_S]
        w.clock.time += 1.0
        later.come()
        assert notes.rules() == [None, None, "photos"]
        assert [record.rule is None for record in notes.records] == [True, True, False]
        # What they were and when, and not what is now.
        assert [record.duration_s for record in notes.records] == [
            0.0,
            0.0,
            pytest.approx(2.475, abs=0.05),
        ]
        times = [record.time for record in notes.records]
        assert times == [exchange.time for exchange in notes.exchanges] == sorted(times)
        fetch(w, GET)
        later.come()
        assert len(notes.records) == 4


def test_what_happens_after_its_end_is_not_told() -> None:
    with wire(SLOW) as w:
        notes, later = observed(w, unmatched=True), Later(w)
        fetch(w)
        w.flows[0].error = mflow.Error("the client has gone with its next request")
        later.come()
        (record,) = notes.records
        assert (record.outcome, record.sent_bytes) == ("complete", 20_000)


def test_who_catches_up_does_not_make_others_call_more_often() -> None:
    with wire(SLOW) as w:
        notes, later = observed(w, unmatched=True), Later(w)
        for number in range(1, 4):
            fetch(w)
            w.addon.observers.catch_up()
            assert len(notes.records) == number
            assert len(later.put_off) == 1
        later.come()
        fetch(w)
        assert len(later.put_off) == 1


def test_many_ends_are_not_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "MOST_UNTOLD", 2)
    with wire(SLOW) as w:
        notes, later = observed(w, unmatched=True), Later(w)
        fetch(w)
        assert not notes.records
        fetch(w)
        assert len(notes.records) == 2
        later.come()  # too late
        assert len(notes.records) == 2


@pytest.mark.parametrize("what", ["response", "request"])
def test_large_bodies_are_not_kept_until_somebody_is_told(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire(SLOW) as w:
        notes, later = observed(w, unmatched=True), Later(w)
        fetch(w)
        monkeypatch.setattr(unpaced, "LARGE_BYTES", 10_000)
        if what == "response":
            fetch(w)
        else:
            w.request(OTHER.replace("GET", "POST").rstrip() + "\nContent-Length: 20000\n\n")
            w.send(BODY)
            w.respond("HTTP/1.1 204 No Content\n\n")
        kept = w.addon.observers._untold
        assert [isinstance(each, Unpaced) for each in kept] == [True, False]
        later.come()
        assert len(notes.records) == 2


def test_what_ended_under_a_policy_is_told_before_the_next_one() -> None:
    with wire(SLOW) as w:
        told: list[str] = []

        class Order(Observer):
            wants_unmatched = True

            def ended(self, record: EndedBody) -> None:
                told.append("end")

            def policy_in_force(self, policy: Policy, path: Path | None, reloads: int) -> None:
                told.append("policy")

        w.addon.observe(Order())
        Later(w)
        fetch(w)
        w.addon.disable("photos")
        assert told == ["policy", "end", "policy"]
        fetch(w)
        observed(w)  # whoever comes now is told of what ends now
        fetch(w)
        w.addon.observers.tell_later(None)  # the proxy stops
        fetch(w)
        assert told == ["policy", "end", "policy", *["end"] * 3]


def test_a_record_that_cannot_be_made_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with wire(SLOW) as w:
        notes, later = observed(w, unmatched=True), Later(w)
        fetch(w)
        fetch(w)
        record, calls = Unpaced.record, []

        def once_broken(self: Unpaced) -> Record:
            calls.append(self)
            return record(self) if len(calls) > 1 else 1 / 0  # type: ignore[return-value]  # on purpose

        monkeypatch.setattr(Unpaced, "record", once_broken)
        with caplog.at_level(logging.ERROR):
            later.come()
        assert len(notes.records) == 1
        assert w.addon.observers.faults == {"Notes.ended": 1}


def test_a_passing_response_reads_like_its_record() -> None:
    with wire(SLOW) as w:
        read: list[tuple[dict[str, object], dict[str, object], bool]] = []
        fields = (*Record._fields, "content")

        class Reader(Observer):
            wants_unmatched = True

            def ended(self, record: EndedBody) -> None:
                as_it_is, kept = (
                    {name: getattr(each, name) for name in fields}
                    for each in (record, record.record())
                )
                read.append((as_it_is, kept, isinstance(record, Unpaced)))

        w.addon.observe(Reader())
        fetch(w)
        w.request(OTHER)
        w.respond(HEAD_20K)
        w.close(w.servers[0])
        [whole, broken] = read
        for as_it_is, kept, passing_ in read:
            assert as_it_is == kept
            assert passing_
        assert (whole[0]["outcome"], whole[0]["sent_bytes"]) == ("complete", 20_000)
        assert broken[0]["outcome"] == "origin-gone"
        assert not w.addon.observers.faults
