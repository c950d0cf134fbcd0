"""Seen as one: what a process says of itself, and what is shown of what the others say."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mitmthrottle.pacing import Parts
from mitmthrottle.store import Names
from mitmthrottle.store.connection import StoreUnavailable
from mitmthrottle.watch.page import peers
from mitmthrottle.watch.page.api import MemberState, StoreState
from mitmthrottle.watch.page.peers import (
    MOST_SHARES,
    Peers,
    PeerStatus,
    Share,
    hash_of_rule,
    parse,
)

from ..store.lua_server import LuaServer
from .test_state import OTHER, PHOTO, TRUSTED, Seen, seen
from .test_top import text_of

POLICY = """
version: 1
name: shared
seed: a seed
rules:
  - name: photos
    when: {host: photos.example}
    then: {rate: [{limit: 16 kB/s, per: rule}, {limit: 8 kB/s, per: client}]}
"""
BODY = PHOTO.replace("\n", "\r\n").encode() + bytes(32000)
NAMES = Names("a seed")
STATUS = PeerStatus(
    name="there:8080",
    version="",
    policy_s=100.0,
    paced=3,
    measured_bytes_per_s=4000.0,
    shares=(Share(hash_of_rule(NAMES, "photos"), 0, "rule", False, 1, 3, 16e3, 4e3, 3.9e3),),
)


@dataclass
class FakeStore:
    """The parts of a store that are looked at, with the script on a server of its own."""

    server: LuaServer = field(default_factory=LuaServer)
    parts: Parts = field(default_factory=Parts)
    names: Names = NAMES
    address: str = "valkey://store"
    down: str = "split"
    away: str | None = None
    away_s: float | None = None
    blocks: bool = False
    process: str = "0a0a0a0a0a0a"
    calls: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.connection = self.sharing = self

    async def run(self, script: str, keys: list[str], arguments: list[Any]) -> list[str]:
        if self.away is not None:
            raise StoreUnavailable(self.away)
        self.calls.append(arguments[2])
        return self.server.run(script, keys, [str(each) for each in arguments])

    def says(self, process: str, status: PeerStatus | str) -> None:
        """Another process says this."""
        text = status if isinstance(status, str) else status.text()
        self.server.listeners.add(f"{NAMES.fleet}:{process}")
        self.server.run("peers.lua", [NAMES.fleet, NAMES.of("members", "")], [process, text, "0"])


@dataclass
class Shown:
    """A page, and the store of its proxy."""

    see: Seen
    store: FakeStore
    peers: Peers

    def hear(self) -> None:
        """Somebody looks at the page, and what is said comes in."""
        self.see.page_state.looked_at()
        asyncio.run(self.peers._once())

    def state(self) -> StoreState:
        found = self.see.state()["store"]
        assert found is not None
        return found

    def shown(self) -> list[MemberState]:
        found = self.state()["members"]
        assert found is not None
        return found


@contextmanager
def shown() -> Iterator[Shown]:
    with seen(POLICY) as see:
        store = FakeStore()
        engine = see.wire.engine
        engine.store = store  # type: ignore[assignment]  # what is looked at of it
        engine.shared._parts = store.parts
        yield Shown(see, store, see.view._peers)


def test_a_word_is_read_as_it_was_written() -> None:
    assert parse(STATUS.text()) == STATUS
    assert len(STATUS.text()) < 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"name": 5}',
        STATUS.text().replace("4000.0", "NaN"),
        STATUS.text().replace("4000.0", "-1"),
        replace(STATUS, name="x" * 101).text(),
        replace(STATUS, shares=STATUS.shares * (MOST_SHARES + 1)).text(),
    ],
)
def test_what_is_no_word_is_not_read(text: str) -> None:
    assert parse(text) is None


def test_a_newer_release_may_say_more() -> None:
    assert parse(json.dumps({**json.loads(STATUS.text()), "colour": "blue"})) == STATUS


def test_without_a_store_nothing_is_shown() -> None:
    with seen(POLICY) as see:
        assert see.state()["store"] is None


def test_this_one_is_first_and_says_what_it_shares() -> None:
    with shown() as page:
        page.see.get("http://photos.example/a.jpg", BODY)
        for second in (0, 1, 1):
            page.see.wire.pass_time(second)
            page.see.sample()
            page.store.parts.due(page.see.wire.clock.time, 9)
        page.store.says("0b0b0b0b0b0b", STATUS)
        page.hear()
        this, other = page.shown()
        assert (this["name"], this["this"], this["active"]) == ("here:8080", True, 1)
        assert (other["name"], other["this"], other["active"]) == ("there:8080", False, 3)
        by_per = {share["per"]: share for share in this["shares"]}
        assert by_per["rule"]["limit_bytes_per_s"] == 16000
        assert by_per["rule"]["part"] == 1
        for share in this["shares"]:
            assert share["rule"] == "photos"
            assert share["measured_bytes_per_s"] == pytest.approx(8000, rel=0.1)
        (share,) = other["shares"]
        assert (share["rule"], share["part"], share["responses"]) == ("photos", 0.25, 3)
        assert this["measured_bytes_per_s"] == pytest.approx(8000, rel=0.1)
        # What it has said of itself is what is shown of it.
        said = page.store.server.hashes[NAMES.of("members", "")][page.store.process]
        status = parse(said.partition(" ")[2])
        assert status is not None
        assert status.paced == 1
        for secret in ("photos", "198.18", "shared"):
            assert secret not in said


def test_a_rule_that_is_not_known_here() -> None:
    with shown() as page:
        share = replace(STATUS.shares[0], rule="somebody's")
        page.store.says("0b0b0b0b0b0b", replace(STATUS, shares=(share,)))
        page.hear()
        assert page.shown()[1]["shares"][0]["rule"] is None


def test_another_policy_is_told_of_once_it_is_settled() -> None:
    with shown() as page:
        page.see.wire.engine.version = "aaa"
        page.store.says("0b0b0b0b0b0b", replace(STATUS, version="bbb"))
        page.hear()
        # This one has its own only now: the other may be about to have it, too.
        assert page.state()["same_policy"]
        loaded = page.see.page_state.loaded
        assert loaded is not None
        page.see.page_state.loaded = replace(loaded, time=loaded.time - 60)
        assert not page.state()["same_policy"]
        assert [each["other_policy"] for each in page.shown()] == [False, True]
        assert "do not run the same policy" in text_of(page.see.state())
        page.store.says("0b0b0b0b0b0b", replace(STATUS, version="bbb", policy_s=1.0))
        page.hear()
        assert page.state()["same_policy"]
        # A command has changed one of them: that is no new version on its way.
        page.store.says("0b0b0b0b0b0b", replace(STATUS, version="aaa+", policy_s=1.0))
        page.hear()
        assert not page.state()["same_policy"]


def test_one_that_is_silent_says_so_and_its_old_policy_is_nobodys_fault() -> None:
    with shown() as page:
        loaded = page.see.page_state.loaded
        assert loaded is not None
        page.see.page_state.loaded = replace(loaded, time=loaded.time - 60)
        page.store.says("0b0b0b0b0b0b", replace(STATUS, version="bbb"))
        page.store.server.now_s += 20
        page.hear()
        silent_s = page.shown()[1]["silent_s"]
        assert silent_s == pytest.approx(20, abs=0.5)
        assert page.state()["same_policy"]
        assert "silent for 20 s" in text_of(page.see.state())


def test_while_the_store_is_away_this_one_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown() as page:
        assert page.state()["members"] is None  # nothing was heard yet
        page.store.says("0b0b0b0b0b0b", STATUS)
        page.hear()
        page.store.away, page.store.away_s = "frozen", 3.0
        page.hear()
        assert len(page.shown()) == 2
        later = peers.time.monotonic() + 61
        monkeypatch.setattr(peers.time, "monotonic", lambda: later)
        assert [each["this"] for each in page.shown()] == [True]


def test_nobody_looks_and_nobody_is_listened_to() -> None:
    with shown() as page:
        asyncio.run(page.peers._once())
        page.hear()
        assert page.store.calls == [0, 100]


def test_the_calls_of_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each two seconds one."""
    with shown() as page:

        async def passing() -> None:
            running = asyncio.create_task(page.peers.run())
            await asyncio.sleep(5 * peers.EVERY_S)
            running.cancel()

        monkeypatch.setattr(peers, "SOON_S", 0.05)
        monkeypatch.setattr(peers, "EVERY_S", 0.2)
        asyncio.run(passing())
        assert 2 <= len(page.store.calls) <= 6


def test_other_readers_see_no_names() -> None:
    with shown() as page:
        page.store.says("0b0b0b0b0b0b", STATUS)
        page.hear()
        store = page.see.state(OTHER)["store"]
        assert store is not None
        assert [each["name"] for each in store["members"] or ()] == [None, None]
        assert store["address"] is None
        assert "there:8080" in text_of(page.see.state(TRUSTED))


def test_a_terminal_obeys_no_other_process() -> None:
    with shown() as page:
        page.store.says("0b0b0b0b0b0b", replace(STATUS, name="[red]x\x1b[2J", version="\x9b31m"))
        page.hear()
        text = text_of(page.see.state())
        assert not {"\x1b", "\x9b"} & set(text)
        assert "[red]x" in text
