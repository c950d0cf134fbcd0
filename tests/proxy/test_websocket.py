"""WebSocket messages as the wire sees them, on a fake clock."""

from __future__ import annotations

import zlib

import pytest
from mitmproxy.proxy import events
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from .playbook import Wire, wire

SLOW = """
version: 1
name: test
rules:
  - name: messages
    when: {host: .slow.example, content: websocket}
    then: {rate: 8 kB/s}
"""
DATA = bytes(range(250)) * 80
UPGRADE = """GET http://a.slow.example/chat HTTP/1.1
Host: a.slow.example
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Extensions: permessage-deflate

"""
ACCEPT = """HTTP/1.1 101 Switching Protocols
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

"""


class Talk:
    """Both ends of a WebSocket through the proxy."""

    def __init__(self, w: Wire, *, deflate: bool = False) -> None:
        self.w = w
        w.request(UPGRADE)
        accept = ACCEPT
        extensions: tuple[list[PerMessageDeflate], ...] = ([], [])
        if deflate:
            accept = accept[:-1] + "Sec-WebSocket-Extensions: permessage-deflate\n\n"
            extensions = ([PerMessageDeflate()], [PerMessageDeflate()])
            for (each,) in extensions:
                each.finalize("permessage-deflate")
        w.respond(accept)
        self.server = w.servers[0]
        self.client_end = Connection(ConnectionType.CLIENT, list(extensions[0]))
        self.server_end = Connection(ConnectionType.SERVER, list(extensions[1]))
        self._read = {
            w.client: len(w.received()),
            self.server: len(w.at_origin()),
        }
        assert w.received().endswith(b"\r\n\r\n")

    def from_server(self, event: Event) -> None:
        self.w.respond(self.server_end.send(event))

    def from_client(self, event: Event) -> None:
        self.w.send(self.client_end.send(event))

    def at_client(self) -> list[Event]:
        return self._events(self.client_end, self.w.client)

    def at_server(self) -> list[Event]:
        return self._events(self.server_end, self.server)

    def bytes_at_client(self) -> int:
        return len(self.w.received()) - self._read[self.w.client]

    def bytes_at_server(self) -> int:
        return len(self.w.at_origin()) - self._read[self.server]

    def _events(self, end: Connection, peer: object) -> list[Event]:
        everything = b"".join(data for _, data in self.w.sent[peer])
        end.receive_data(everything[self._read[peer] :])
        self._read[peer] = len(everything)
        return list(end.events())


def content(events: list[Event]) -> bytes:
    return b"".join(bytes(e.data) for e in events if isinstance(e, BytesMessage))


def test_messages_are_paced_both_ways_and_arrive_whole() -> None:
    with wire(SLOW) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        talk.from_client(BytesMessage(DATA))
        w.pass_time(1.0)
        assert talk.bytes_at_client() == pytest.approx(8000, rel=0.06)
        assert talk.bytes_at_server() == pytest.approx(8000, rel=0.06)
        w.pass_time(2.0)
        assert content(talk.at_client()) == DATA
        assert content(talk.at_server()) == DATA


def test_what_does_not_match_is_not_touched() -> None:
    with wire(SLOW.replace("slow", "other")) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        assert content(talk.at_client()) == DATA
        assert not w.flows[0].marked
        assert not w.engine.active()


def test_a_rule_for_other_content_leaves_it_alone() -> None:
    with wire(SLOW.replace("websocket", "photo")) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        assert content(talk.at_client()) == DATA


def test_a_rule_without_content_holds_too() -> None:
    with wire(SLOW.replace(", content: websocket", "")) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        w.pass_time(1.0)
        assert talk.bytes_at_client() == pytest.approx(8000, rel=0.06)


def test_what_is_below_the_rate_is_not_held_back() -> None:
    with wire(SLOW) as w:
        talk = Talk(w)
        for number in range(20):
            talk.from_server(TextMessage(f"message {number}"))
            assert [e.data for e in talk.at_client() if isinstance(e, TextMessage)] == [
                f"message {number}"
            ]
            w.pass_time(0.1)


def test_compressed_messages_count_as_they_travel() -> None:
    noise = zlib.compress(DATA) * 50  # does not compress any further
    with wire(SLOW) as w:
        talk = Talk(w, deflate=True)
        talk.from_server(TextMessage("a" * 1_000_000))  # about 1 kB
        w.pass_time(1.0)
        assert [len(e.data) for e in talk.at_client() if isinstance(e, TextMessage)]
        talk.from_server(BytesMessage(noise))
        w.pass_time(60.0)
        assert content(talk.at_client()) == noise


def test_a_ping_waits_for_what_was_sent_before_it() -> None:
    with wire(SLOW) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        talk.from_server(Ping(b"are you there"))
        w.pass_time(1.0)
        assert not [e for e in talk.at_client() if isinstance(e, (Ping, Pong))]
        w.pass_time(2.0)
        assert isinstance(talk.at_client()[-1], Ping)


def test_the_close_comes_after_the_data_and_ends_both_sides() -> None:
    with wire(SLOW) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        talk.from_server(CloseConnection(1000, "bye"))
        w.pass_time(1.0)
        assert w.client not in w.closed
        w.pass_time(2.0)
        events = talk.at_client()
        assert content(events) == DATA[-len(content(events)) :]
        assert isinstance(events[-1], CloseConnection)
        assert events[-1].code == 1000
        assert w.client in w.closed
        assert w.servers[0] in w.closed
        assert w.hooks.count("websocket_end") == 1
        assert w.nothing_left()


def test_a_server_that_dies_loses_nothing_of_what_it_sent() -> None:
    with wire(SLOW) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        w.close(w.servers[0])
        w.pass_time(3.0)
        assert content(talk.at_client()) == DATA
        assert w.client in w.closed
        assert w.nothing_left()


def test_a_client_that_is_gone_ends_the_wait_at_once() -> None:
    with wire(SLOW) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        w.close(w.client)
        assert w.servers[0] in w.closed
        assert w.nothing_left()
        assert w.engine.reports.counts["client-gone"] == 1


def test_a_slowed_flow_says_so() -> None:
    with wire(SLOW) as w:
        Talk(w)
        assert w.flows[0].marked == ":turtle:"
        assert "slowed by `messages` (policy.yaml:5)" in w.flows[0].comment


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_cut_ends_it_after_so_many_bytes(how: str) -> None:
    with wire(SLOW.replace("rate: 8 kB/s", f"cut: {{after: 5 kB, how: {how}}}")) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        assert talk.bytes_at_client() == 5000
        assert w.client in w.closed
        assert w.servers[0] in w.closed
        assert w.nothing_left()
        assert w.engine.reports.counts["cut"] >= 1


@pytest.mark.parametrize("block", ["reset", "451"])
def test_a_block_answers_the_handshake(block: str) -> None:
    with wire(SLOW.replace("rate: 8 kB/s", f"block: {block}")) as w:
        w.request(UPGRADE)
        if w.servers:
            w.respond(ACCEPT)
        if block == "451":
            assert w.received().startswith(b"HTTP/1.1 451 ")
        else:
            assert w.received() == b""
            assert w.client in w.closed
        assert w.nothing_left()


def test_a_later_stage_that_blocks_ends_it() -> None:
    stages = "stages: [{for: 1 s, rate: 8 kB/s}, {block: 451}]"
    with wire(SLOW.replace("rate: 8 kB/s", stages)) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        w.pass_time(0.9)
        assert talk.bytes_at_client() == pytest.approx(7200, rel=0.1)
        w.pass_time(0.2)
        assert w.client in w.closed
        assert w.hooks.count("websocket_end") == 1
        assert w.flows[0].websocket.close_code == 1006
        assert w.nothing_left()


def test_an_error_of_ours_lets_the_messages_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(SLOW) as w:
        w.request(UPGRADE)
        monkeypatch.setattr(w.engine, "websocket", lambda *args: 1 / 0)
        w.respond(ACCEPT)
        before = len(w.received())
        end = Connection(ConnectionType.SERVER)
        w.respond(end.send(BytesMessage(DATA)))
        assert len(w.received()) - before > len(DATA)
        assert w.engine.reports.counts["failed"] == 1


def test_a_client_that_goes_while_its_closing_is_held_is_closed() -> None:
    stalled = SLOW.replace("rate: 8 kB/s", "stall: {after: 4 kB, for: 1 h}")
    with wire(stalled) as w:
        talk = Talk(w)
        talk.from_server(BytesMessage(DATA))
        talk.from_server(CloseConnection(1000))
        w.pass_time(1.0)
        assert w.client not in w.closed
        w.feed(events.ConnectionClosed(w.client))  # it has said its last word
        assert w.client in w.closed
        assert w.nothing_left()
