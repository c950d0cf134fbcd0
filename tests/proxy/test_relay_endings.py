"""How connections end that cannot be opened: nothing is lost, and nobody waits for nothing."""

from __future__ import annotations

import pytest

from mitmthrottle.policy import parse_policy

from .relayed import relay
from .test_relay import DATA, HELLO, NAMED, SLOW, with_effect


def test_the_close_comes_after_the_data() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.server, DATA)
        r.half_close(r.server)
        r.pass_time(1.0)
        assert not r.how_ended(r.client)
        r.pass_time(2.0)
        assert r.got(r.client) == DATA
        assert r.how_ended(r.client) == ["half-closed"]
        assert r.sent[r.client][-1][0] <= r.ended[r.client][0][0]
        assert not r.how_ended(r.server)
        r.half_close(r.client)
        assert r.how_ended(r.server) == ["closed"]
        assert r.nothing_left()
        assert r.engine.reports.counts == {"complete": 2}


def test_a_client_that_has_said_its_last_word_still_gets_the_answer() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.client, b"GET it")
        r.half_close(r.client)
        assert r.how_ended(r.server) == ["half-closed"]
        r.say(r.server, DATA)
        r.half_close(r.server)
        r.pass_time(3.0)
        assert r.got(r.client) == DATA
        assert r.how_ended(r.client) == ["closed"]
        assert r.nothing_left()


def test_an_upload_that_is_held_survives_the_end_of_the_download() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.client, DATA)
        r.half_close(r.client)
        r.half_close(r.server)  # it has nothing to say and listens
        # Half-closed from both sides, the client would be closed, and what it has said be lost.
        assert r.how_ended(r.client) == []
        r.pass_time(3.0)
        assert r.got(r.server) == DATA
        assert r.how_ended(r.server) == ["closed"]
        assert r.nothing_left()


def test_a_download_that_is_held_survives_the_end_of_the_upload() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.client, DATA[:4000])
        r.half_close(r.client)
        r.say(r.server, DATA)
        r.half_close(r.server)
        r.pass_time(1.0)
        assert r.got(r.server) == DATA[:4000]
        assert r.how_ended(r.server) == ["half-closed"]
        r.pass_time(2.0)
        assert r.got(r.client) == DATA
        assert r.nothing_left()


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_peer_that_is_gone_ends_the_wait_at_once(who: str) -> None:
    with relay(SLOW, NAMED) as r:
        gone = r.client if who == "client" else r.server
        r.say(r.client, DATA)
        r.say(r.server, DATA)
        r.close(gone)
        assert r.nothing_left()
        assert set(r.how_ended(r.client) + r.how_ended(r.server)) == {"closed"}
        assert r.engine.reports.counts == {"client-gone" if who == "client" else "origin-gone": 2}


def test_a_peer_that_is_found_gone_while_its_data_is_held() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.server, DATA)
        r.half_close(r.client)
        r.break_down(r.client)  # the socket says so when it is written to
        r.pass_time(0.2)
        assert r.nothing_left()
        assert r.engine.reports.counts["client-gone"] == 1


def test_cut_after_so_many_bytes() -> None:
    with relay(with_effect("cut: {after: 5 kB, how: reset}"), NAMED) as r:
        r.say(r.server, DATA)
        assert r.got(r.client) == DATA[:5000]
        assert r.how_ended(r.client) == ["closed"]
        assert r.how_ended(r.server) == ["closed"]
        assert r.engine.reports.counts["cut"] == 2
        r.say(r.client, b"more")
        r.pass_time(1.0)
        assert r.nothing_left()


@pytest.mark.parametrize("block", ["reset", "451"])
def test_block_ends_the_connection_since_nothing_can_be_answered(block: str) -> None:
    with relay(with_effect(f"block: {block}")) as r:
        r.say(r.client, HELLO)
        assert r.got(r.server) == b""
        assert r.how_ended(r.client) == ["closed"]
        assert r.engine.reports.counts["blocked"] == 2
        assert r.nothing_left()


def test_block_by_silence_lasts_until_the_client_gives_up() -> None:
    with relay(with_effect("block: timeout")) as r:
        r.say(r.client, HELLO)
        r.say(r.server, DATA)
        r.pass_time(300)
        assert r.got(r.client) == b""
        r.half_close(r.client)
        assert r.how_ended(r.server) == ["closed"]
        assert r.nothing_left()


def test_a_block_after_a_quota_comes_for_the_next_connection() -> None:
    quota = "quota: {free: 10 kB, per: client}"
    with relay(with_effect(f"{quota}, block: 429"), NAMED) as r:
        r.say(r.server, DATA)  # more than is free, but it has begun
        assert r.got(r.client) == DATA
        assert not r.how_ended(r.client)
        other = r.another(NAMED)
        other.say(other.server, DATA)
        assert other.got(other.client) == b""
        assert other.how_ended(other.client) == ["closed"]


def test_within_a_quota_there_is_no_delay() -> None:
    with relay(with_effect("quota: {free: 1 MB, per: client}, delay: 2 s"), NAMED) as r:
        r.say(r.server, DATA)
        assert r.got(r.client) == DATA


def test_a_block_by_silence_that_comes_when_the_client_has_said_its_last_word_ends_it() -> None:
    with relay(SLOW, NAMED) as r:
        r.say(r.client, DATA)
        r.half_close(r.client)
        r.pass_time(0.2)
        r.engine.change_policy(parse_policy(with_effect("block: timeout"), "p.yaml"))
        r.pass_time(1.0)
        assert r.how_ended(r.client) == ["closed"]
        assert r.how_ended(r.server) == ["closed"]
        assert r.nothing_left()
