"""`throttle_quic=block`: what is left of HTTP/3 in a header, a DNS record and a first packet."""

from __future__ import annotations

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from mitmproxy import connection, dns, http
from mitmproxy.net.dns import https_records, response_codes, types
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.test import taddons

from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.mitm.quic import refuse, without_h3, without_h3_records


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], []),
        (["clear"], ["clear"]),
        (['h3=":443"; ma=86400'], []),
        (['h3=":443"; ma=86400, h3-29=":443"; ma=86400'], []),
        (['h3=":443", h2=":8443"; ma=60'], ['h2=":8443"; ma=60']),
        (['h3=":443"', 'h2="h3.example.org:443"'], ['h2="h3.example.org:443"']),
        (['h2="h3.example.org:443"; ma=60'], ['h2="h3.example.org:443"; ma=60']),
        (['quic=":443"; ma=2592000; v="46,43", h3-Q050=":443", H3=":443"'], []),
        (['h2=":1"; v="a,b",h3=":443"'], ['h2=":1"; v="a,b"']),
    ],
)
def test_the_alt_svc_header(before: list[str], after: list[str]) -> None:
    response = http.Response.make(200, b"", {"Content-Type": "text/html"})
    response.headers.set_all("alt-svc", before)
    without_h3(response)
    assert response.headers.get_all("alt-svc") == after


def answer(*params: dict[int, bytes]) -> dns.DNSMessage:
    records = [https_records.HTTPSRecord(1, "", each) for each in params]
    message = dns.DNSMessage(
        timestamp=0.0, id=1, query=False, op_code=0, authoritative_answer=False,
        truncation=False, recursion_desired=True, recursion_available=True, reserved=0,
        response_code=response_codes.NOERROR,
        questions=[dns.Question("a.example", types.HTTPS, 1)],
        answers=[dns.ResourceRecord.HTTPS("a.example", record) for record in records],
        authorities=[], additionals=[],
    )  # fmt: skip
    # Through the wire and back, as it comes.
    return dns.DNSMessage.unpack(message.packed)


def left_of(message: dns.DNSMessage) -> list[dict[int, bytes]]:
    again = dns.DNSMessage.unpack(message.packed)
    return [https_records.unpack(record.data).params for record in again.answers]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({1: b"\x02h3\x02h2", 4: b"\xc6\x12\0\1"}, {1: b"\x02h2", 4: b"\xc6\x12\0\1"}),
        ({1: b"\x02h2\x05h3-29\x02h3"}, {1: b"\x02h2"}),
        ({1: b"\x02h2"}, {1: b"\x02h2"}),
        ({3: b"\x01\xbb"}, {3: b"\x01\xbb"}),
        ({1: b"\x02h3"}, {}),
        ({0: b"\0\1\0\3", 1: b"\x02h3", 3: b"\x01\xbb"}, {0: b"\0\3", 3: b"\x01\xbb"}),
        ({0: b"\0\1", 1: b"\x02h3"}, {}),
    ],
)
def test_the_https_record(before: dict[int, bytes], after: dict[int, bytes]) -> None:
    message = answer(before)
    without_h3_records(message)
    assert left_of(message) == [after]


def test_an_https_record_for_http3_alone_is_dropped() -> None:
    message = answer({1: b"\x02h3", 2: b""}, {1: b"\x02h2", 2: b""})
    without_h3_records(message)
    assert left_of(message) == [{1: b"\x02h2", 2: b""}]


def test_records_of_other_types_are_not_touched() -> None:
    message = answer()
    message.answers.append(dns.ResourceRecord.TXT("a.example", "h3"))
    before = message.packed
    without_h3_records(message)
    assert message.packed == before


def first_packet(options: object, transport: str, data: bytes) -> layer.NextLayer:
    client = connection.Client(
        peername=("198.18.0.7", 5000),
        sockname=("198.18.0.1", 443),
        state=connection.ConnectionState.OPEN,
        transport_protocol=transport,  # type: ignore[arg-type]  # "tcp" or "udp"
    )
    ctx = context.Context(client, options)  # type: ignore[arg-type]  # mitmproxy's options
    ctx.server.address = ("198.18.0.1", 443)
    nextlayer = layer.NextLayer(ctx)
    nextlayer.events = [events.Start(), events.DataReceived(client, data)]
    return nextlayer


def initial() -> bytes:
    """What a QUIC client sends first."""
    quic = QuicConnection(
        configuration=QuicConfiguration(alpn_protocols=["h3"], server_name="a.example")
    )
    quic.connect(("198.18.0.1", 443), now=0.0)
    return quic.datagrams_to_send(now=0.0)[0][0]


def test_quic_is_refused_and_nothing_else_is() -> None:
    with taddons.context(Throttle(), loadcore=True) as tctx:
        quic = first_packet(tctx.options, "udp", initial())
        assert refuse(quic)
        assert quic.layer is not None
        (command,) = quic.layer.handle_event(events.Start())
        assert isinstance(command, commands.CloseConnection)
        assert list(quic.layer.handle_event(quic.events[1])) == []
        assert not refuse(first_packet(tctx.options, "tcp", initial()))
        assert not refuse(first_packet(tctx.options, "udp", b"\0\x01short"))
