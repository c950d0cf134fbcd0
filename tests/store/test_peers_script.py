"""What processes say of themselves: who is told of whom, by the real script on a told clock."""

from __future__ import annotations

import pytest

from .lua_server import LuaServer

FLEET, MEMBERS = "fleet", "members"


def say(server: LuaServer, name: str, text: str = "{}", most: int = 0) -> list[str]:
    return server.run("peers.lua", [FLEET, MEMBERS], [name, text, str(most)])


@pytest.fixture
def server() -> LuaServer:
    made = LuaServer()
    made.listeners |= {f"{FLEET}:{name}" for name in ("a", "b", "c")}
    return made


def test_all_are_told_with_how_long_ago_they_spoke(server: LuaServer) -> None:
    say(server, "b", "b says  this")
    server.now_s += 1.5
    assert say(server, "a", "x", 10) == ["2", "a", "0", "x", "b", "1500", "b says  this"]


def test_nobody_listens_and_nothing_is_gone_through(server: LuaServer) -> None:
    say(server, "b")
    assert say(server, "a") == ["0"]


def test_one_that_has_ended_is_left_out_and_one_that_is_silent_is_not(server: LuaServer) -> None:
    say(server, "b")
    say(server, "c")
    server.listeners.discard(f"{FLEET}:b")
    server.now_s += 2.9
    assert say(server, "a", "x", 10)[0] == "3"  # it may only have begun to listen anew
    server.now_s += 10
    answer = say(server, "a", "x", 10)
    assert answer[:1] + answer[4:] == ["2", "c", "12900", "{}"]
    assert "b" not in server.hashes[MEMBERS]


def test_one_that_is_silent_for_a_minute_is_forgotten(server: LuaServer) -> None:
    say(server, "b")
    server.now_s += 61
    assert say(server, "a", "x", 10)[0] == "1"
    assert list(server.hashes[MEMBERS]) == ["a"]


def test_so_many_at_most_and_how_many_there_are(server: LuaServer) -> None:
    for number in range(30):
        say(server, f"p{number:02}")
    answer = say(server, "p00", "{}", 4)
    assert answer[0] == "30"
    assert answer[1::3] == ["p00", "p01", "p02", "p03"]


def test_what_is_no_word_of_ours_breaks_nothing(server: LuaServer) -> None:
    server.hashes[MEMBERS]["b"] = "rubbish"
    assert say(server, "a", "x", 10)[0] == "1"
