"""A snapshot: everything that those who look on may know, in values that stay as they were."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.bodies.record import BodySnapshot
from mitmthrottle.proxy.observe.observer import EndedBody, Observer
from mitmthrottle.proxy.observe.snapshot import EngineSnapshot, Snapshot

from .playbook import Wire, wire
from .test_http_stream import BODY, GET, HEAD_20K, SLOW, with_effect


def engine_of(w: Wire) -> EngineSnapshot:
    found = w.addon.snapshot().engine
    assert found is not None
    return found


def only_body(w: Wire) -> BodySnapshot:
    (found,) = w.addon.snapshot().bodies
    return found


def get(w: Wire) -> None:
    w.request(GET)
    w.respond(HEAD_20K)
    w.respond(BODY)


def test_without_a_policy_there_is_nothing_but_failures_of_observers() -> None:
    throttle = Throttle()
    throttle.observers.faults["Broken.ended"] = 2
    assert throttle.snapshot() == Snapshot(observer_failures=2)
    assert throttle.snapshot().bodies == ()


def test_the_policy_in_force_and_what_commands_have_changed() -> None:
    with wire(SLOW) as w:
        w.engine.version = "0123456789ab"
        before = w.addon.snapshot()
        assert before.engine is not None
        assert before.engine.version == "0123456789ab"
        assert before.engine.decider.might_match_host("slow.example")
        assert before.overrides == {}
        w.addon.disable("photos")
        after = w.addon.snapshot()
        assert after.engine is not None
        assert after.engine.policy.rules == ()
        assert not after.engine.decider.might_match_host("slow.example")
        assert after.file_policy is not None
        assert [rule.name for rule in after.file_policy.rules] == ["photos"]
        assert after.overrides["photos"].switched_off
        assert after.overrides["photos"].reverts_in_s is None
        # What was taken before is as it was.
        assert [rule.name for rule in before.engine.policy.rules] == ["photos"]


def test_a_body_under_way_in_plain_values() -> None:
    with wire(SLOW) as w:
        get(w)
        w.pass_time(1.0)
        body = only_body(w)
        assert (body.kind, body.direction, body.state) == ("response", "down", "paced")
        assert body.flow_id == w.flows[0].id
        assert body.client_id == w.client.id
        assert body.exchange.host == "a.slow.example"
        assert body.rule is not None
        assert body.rule.name == "photos"
        assert body.rate_bytes_per_s == 8000
        assert body.measured_bytes_per_s == pytest.approx(8000, rel=0.05)
        assert body.sent_bytes == pytest.approx(8000, rel=0.1)
        assert body.sent_bytes + body.waiting_bytes == 20_000
        assert body.age_s == pytest.approx(1.0)
        assert body.held_s is not None
        assert 0 <= body.held_s <= body.age_s
        w.pass_time(0.5)
        assert body.sent_bytes < only_body(w).sent_bytes  # it does not go on with the body
        w.pass_time(2.0)
        engine = engine_of(w)
        assert engine.bodies == ()
        assert engine.outcomes == {"complete": 1}


@pytest.mark.parametrize(
    ("effect", "state"),
    [
        ("delay: 1 s", "delayed"),
        ("rate: 8 kB/s", "paced"),
        ("stages: [{for: 100 ms, rate: 8 kB/s}], from: response", "unlimited"),
    ],
)
def test_the_state_of_a_body(effect: str, state: str) -> None:
    with wire(with_effect(effect)) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY[:10_000])
        w.pass_time(0.3)
        assert only_body(w).state == state


def test_whoever_waits_for_others_waits_to_start() -> None:
    with wire(with_effect("requests: 1 / min")) as w:
        get(w)
        w.pass_time(0.1)
        get(w)
        w.pass_time(1.0)
        body = only_body(w)
        assert (body.state, body.sent_bytes) == ("waiting to start", 0)
        assert body.held_s == pytest.approx(1.0, abs=0.1)


def test_observers_are_told_before_it_is_taken() -> None:
    class Ends(Observer):
        def __init__(self) -> None:
            self.told: list[EndedBody] = []

        def ended(self, record: EndedBody) -> None:
            self.told.append(record)

    with wire(SLOW) as w:
        ends = Ends()
        w.addon.observe(ends)
        w.addon.observers.tell_later(lambda delay_s, tell: None)
        get(w)
        w.pass_time(3)
        assert ends.told == []
        w.addon.snapshot()
        assert len(ends.told) == 1


def test_nobody_changes_what_was_taken() -> None:
    with wire(SLOW) as w:
        get(w)
        now = w.addon.snapshot()
        for what, name in ((now, "engine"), (now.engine, "version"), (now.bodies[0], "sent_bytes")):
            with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
                setattr(what, name, None)


def test_a_rule_that_is_as_its_file_says_for_a_time_only() -> None:
    async def main() -> None:
        with wire(SLOW) as w:
            w.addon.disable("photos")
            w.addon.enable("photos", "10 min")
            override = w.addon.snapshot().overrides["photos"]
            assert (override.changed, override.switched_off) == (False, False)
            assert override.reverts_in_s == pytest.approx(600, abs=30)
            w.addon.control.stop()

    asyncio.run(main())
