"""How many are held before their start is bounded, and one client cannot take all places."""

from __future__ import annotations

import logging

import pytest

from mitmthrottle.proxy.bodies.held import Held

from .playbook import wire
from .relayed import relay
from .test_body_life import policy
from .test_http_stream import BODY, GET, HEAD_20K
from .test_relay import HELLO, with_effect


def test_all_places_and_those_of_one_client() -> None:
    held = Held()
    held.most = 8
    assert [held.take("a", 0) for _ in range(5)] == [True] * 4 + [False]
    assert [held.take(each, 0) for each in "bbbccdd"] == [
        True,
        True,
        False,
        True,
        True,
        False,
        False,
    ]
    assert (len(held), held.not_held) == (8, 4)
    held.release("b")
    assert held.take("e", 0)
    for each in "aaaabcce":
        held.release(each)
    assert len(held) == 0
    assert held.take("a", 0)


def test_without_a_bound() -> None:
    held = Held()
    held.most = 0
    assert all(held.take("a", 0) for _ in range(10_000))


def test_it_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    held = Held()
    held.most = 1
    with caplog.at_level(logging.WARNING):
        for now in (0, 1, 59, 61, 62):
            held.take("a", now)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2  # the first had a place
    assert "throttle_most_held" in said[0]


@pytest.mark.parametrize("effect", ["delay: 1 h", "requests: 1 / h"])
def test_what_there_is_no_place_for_passes_at_once(effect: str) -> None:
    with wire(policy(effect)) as w:
        w.engine.held.most = 1
        assert w.engine.held.take("somebody else", 0)
        for _ in range(2):
            w.request(GET)
            w.respond(HEAD_20K)
            w.respond(BODY)
        assert w.received().count(BODY) == 2
        assert w.engine.held.not_held == (1 if "requests" in effect else 2)
        assert len(w.engine.held) == 1
        assert w.nothing_left()


@pytest.mark.parametrize("effect", ["delay: 2 s", "delay: 1 h", "block: timeout"])
def test_a_place_is_given_back_at_the_start_and_at_the_end(effect: str) -> None:
    with wire(policy(effect)) as w:
        w.request(GET)
        if "timeout" not in effect:
            w.respond(HEAD_20K)
            w.respond(BODY)
        assert len(w.engine.held) == 1
        if "2 s" in effect:
            w.pass_time(3.0)
            assert w.body() == BODY
        else:
            w.close(w.client)
        assert len(w.engine.held) == 0
        assert w.engine.held.not_held == 0


def test_what_is_blocked_by_silence_is_answered_where_there_is_no_place() -> None:
    with wire(policy("block: timeout")) as w:
        w.engine.held.most = 1
        assert w.engine.held.take("somebody else", 0)
        w.request(GET)
        assert b" 504 " in w.received()
        assert w.nothing_left()


def test_a_relayed_connection_is_closed_where_there_is_no_place() -> None:
    with relay(with_effect("block: timeout")) as r:
        r.engine.held.most = 1
        assert r.engine.held.take("somebody else", 0)
        r.say(r.client, HELLO)
        assert r.how_ended(r.client) == ["closed"]
        assert r.nothing_left()
