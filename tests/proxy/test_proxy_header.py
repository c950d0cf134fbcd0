"""The PROXY protocol's header: what it says, what is refused, and never a byte too many."""

from __future__ import annotations

import ipaddress
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.proxy.listen.proxy_header import (
    V1_MOST_BYTES,
    V2_MOST_BYTES,
    V2_SIGNATURE,
    BadHeader,
    Header,
    More,
    crc32c,
    may_begin,
    parse,
)

LOCAL, PROXY = 0x20, 0x21
TCP4, UDP4, TCP6, UNIX, UNSPEC = 0x11, 0x12, 0x21, 0x31, 0x00
V4_BLOCK = bytes([198, 18, 0, 7, 198, 18, 0, 1]) + struct.pack("!HH", 40000, 8080)
V6_BLOCK = (
    ipaddress.IPv6Address("2001:db8::7").packed
    + ipaddress.IPv6Address("2001:db8::1").packed
    + struct.pack("!HH", 40000, 443)
)


def v2(command: int, family: int, block: bytes) -> bytes:
    return V2_SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(command: int, family: int, block: bytes) -> bytes:
    """The header with its CRC32C, which counts its own four bytes as zeros."""
    without = v2(command, family, block + field(0x03, bytes(4)))
    return without[:-4] + struct.pack("!I", crc32c(without))


def feed(stream: bytes, step: int | None = None) -> tuple[Header, bytes]:
    """Read from a stream as a connection is read: at most what is asked for, in steps."""
    taken = b""
    while isinstance(found := parse(taken), More):
        assert found.at_most > 0
        amount = min(found.at_most, step or found.at_most)
        piece = stream[len(taken) : len(taken) + amount]
        if not piece:
            raise EOFError
        taken += piece
    return found, stream[len(taken) :]


GOOD = {
    "TCP4": (
        b"PROXY TCP4 198.18.0.7 198.18.0.1 40000 8080\r\n",
        Header(1, ("198.18.0.7", 40000), ("198.18.0.1", 8080)),
    ),
    "TCP6": (
        b"PROXY TCP6 2001:db8::7 2001:0DB8:0:0::1 40000 0\r\n",
        Header(1, ("2001:db8::7", 40000), ("2001:db8::1", 0)),
    ),
    "the longest line": (
        b"PROXY TCP6 " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2)
        + b" 65535 65535\r\n",
        Header(1, *[("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)] * 2),
    ),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", Header(1, None, None)),
    "UNKNOWN and more": (
        b"PROXY UNKNOWN " + b"x" * (V1_MOST_BYTES - 16) + b"\r\n",
        Header(1, None, None),
    ),
    "v2 TCP4": (
        v2(PROXY, TCP4, V4_BLOCK),
        Header(2, ("198.18.0.7", 40000), ("198.18.0.1", 8080)),
    ),
    "v2 over UDP": (
        v2(PROXY, UDP4, V4_BLOCK),
        Header(2, ("198.18.0.7", 40000), ("198.18.0.1", 8080)),
    ),
    "v2 TCP6": (
        v2(PROXY, TCP6, V6_BLOCK),
        Header(2, ("2001:db8::7", 40000), ("2001:db8::1", 443)),
    ),
    "v2 with fields": (
        v2(PROXY, TCP4, V4_BLOCK + field(0x02, b"example.org") + field(0x04, b"\0" * 7)),
        Header(2, ("198.18.0.7", 40000), ("198.18.0.1", 8080)),
    ),
    "v2 with a checksum": (
        with_checksum(PROXY, TCP4, V4_BLOCK + field(0x05, b"an id")),
        Header(2, ("198.18.0.7", 40000), ("198.18.0.1", 8080)),
    ),
    "v2 LOCAL": (v2(LOCAL, UNSPEC, b""), Header(2, None, None)),
    "v2 LOCAL, whatever else it says": (v2(LOCAL, 0xFF, b"anything"), Header(2, None, None)),
    "v2 unspecified": (v2(PROXY, UNSPEC, b""), Header(2, None, None)),
    "v2 of a socket with a path": (
        v2(PROXY, UNIX, b"/run/a.sock".ljust(108, b"\0") * 2),
        Header(2, None, None),
    ),
    "v2 as long as may be": (
        v2(PROXY, TCP4, V4_BLOCK + field(0x04, bytes(V2_MOST_BYTES - 16 - 12 - 3))),
        Header(2, ("198.18.0.7", 40000), ("198.18.0.1", 8080)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("step", [None, 1])
def test_what_it_says(name: str, step: int | None) -> None:
    header, expected = GOOD[name]
    found, rest = feed(header + b"\x16\x03\x01 what follows", step)
    assert found == expected
    assert rest == b"\x16\x03\x01 what follows"


BAD = {
    "a request": (b"GET / HTTP/1.1\r\n", "does not begin with a PROXY protocol header"),
    "a ClientHello": (b"\x16\x03\x01\x02\x00", "does not begin"),
    "almost": (b"PROXX ", "does not begin"),
    "lower case": (b"proxy TCP4 ", "does not begin"),
    "another protocol": (b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", "its protocol is 'UDP4'"),
    "no protocol": (b"PROXY \r\n", "its protocol is ''"),
    "too few": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "two addresses and two ports"),
    "too many": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", "two addresses and two ports"),
    "two spaces": (b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", "two addresses and two ports"),
    "no address": (b"PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n", "'1.1.1.256' is no address"),
    "a zero before": (b"PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n", "'1.1.1.01' is no address"),
    "a scope": (b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n", "'fe80::1%eth0' is no address"),
    "a name": (b"PROXY TCP4 localhost 1.1.1.1 1 1\r\n", "'localhost' is no address"),
    "the other family": (b"PROXY TCP4 ::1 ::1 1 1\r\n", "'::1' is no IPv4 address"),
    "no port": (b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", "'65536' is no port"),
    "a signed port": (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", "'+1' is no port"),
    "a port of two digits": (b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n", "'01' is no port"),
    "bytes beyond ASCII": (b"PROXY TCP4 1.1.1.\xb2 1.1.1.1 1 1\r\n", "is no address"),
    "a bare line feed": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", "does not end with CRLF"),
    "a bare return": (b"PROXY UNKNOWN \rx\r\n", "does not end with CRLF"),
    "an endless line": (b"PROXY UNKNOWN " + b"x" * 200, "longer than 107 bytes"),
    "a line one byte too long": (
        b"PROXY UNKNOWN " + b"x" * (V1_MOST_BYTES - 15) + b"\r\n", "longer than 107 bytes"),
    "version 1, binary": (v2(0x11, TCP4, V4_BLOCK), "its version is 1, not 2"),
    "version 3": (v2(0x31, TCP4, V4_BLOCK), "its version is 3, not 2"),
    "another command": (v2(0x22, TCP4, V4_BLOCK), "its command is 2"),
    "another family": (v2(PROXY, 0x41, bytes(300)), "its family and transport are 0x41"),
    "another transport": (v2(PROXY, 0x13, V4_BLOCK), "its family and transport are 0x13"),
    "too short for IPv4": (v2(PROXY, TCP4, V4_BLOCK[:-1]), "too short for its addresses"),
    "too short for IPv6": (v2(PROXY, TCP6, V4_BLOCK), "too short for its addresses"),
    "too short for paths": (v2(PROXY, UNIX, bytes(215)), "too short for its addresses"),
    "too long": (v2(PROXY, TCP4, bytes(V2_MOST_BYTES - 15)), "4096 is the most that is read"),
    "an endless one": (V2_SIGNATURE + b"\x21\x11\xff\xff", "65551 bytes long"),
    "half a field": (v2(PROXY, TCP4, V4_BLOCK + b"\x01\x00"), "do not end where it ends"),
    "a field too long": (
        v2(PROXY, TCP4, V4_BLOCK + b"\x01\x00\x09abc"), "do not end where it ends"),
    "a wrong checksum": (
        v2(PROXY, TCP4, V4_BLOCK + field(0x03, b"\1\2\3\4")), "its checksum is wrong"),
    "a short checksum": (
        v2(PROXY, TCP4, V4_BLOCK + field(0x03, b"\1\2")), "its checksum is not four bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("step", [None, 1])
def test_what_is_refused(name: str, step: int | None) -> None:
    stream, reason = BAD[name]
    with pytest.raises(BadHeader, match=re.escape(reason)):
        feed(stream, step)


def test_a_mistake_is_seen_at_its_byte() -> None:
    """Whoever sends something else need not send twelve bytes of it first."""
    for byte in set(range(256)) - {b"P"[0], b"\r"[0]}:
        with pytest.raises(BadHeader):
            parse(bytes([byte]))


addresses = st.tuples(st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str),
                      st.integers(0, 65535))  # fmt: skip
pairs = st.tuples(addresses, addresses).filter(
    lambda pair: (":" in pair[0][0]) == (":" in pair[1][0])
)
fields = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind != 0x03), st.binary(max_size=40)),
    max_size=5,
)


@given(pair=pairs, step=st.integers(1, 40), rest=st.binary(max_size=50))
def test_any_line_comes_back(
    pair: tuple[tuple[str, int], tuple[str, int]], step: int, rest: bytes
) -> None:
    (source, source_port), (destination, destination_port) = pair
    kind = "TCP6" if ":" in source else "TCP4"
    line = f"PROXY {kind} {source} {destination} {source_port} {destination_port}\r\n".encode()
    assert feed(line + rest, step) == (Header(1, *pair), rest)


@given(pair=pairs, more=fields, checked=st.booleans(), step=st.integers(1, 300),
       rest=st.binary(max_size=50))  # fmt: skip
def test_any_binary_header_comes_back(
    pair: tuple[tuple[str, int], tuple[str, int]],
    more: list[tuple[int, bytes]],
    checked: bool,
    step: int,
    rest: bytes,
) -> None:
    hosts = [ipaddress.ip_address(host).packed for host, _ in pair]
    block = b"".join(hosts) + struct.pack("!HH", pair[0][1], pair[1][1])
    block += b"".join(field(kind, value) for kind, value in more)
    family = TCP6 if ":" in pair[0][0] else TCP4
    build = with_checksum if checked else v2
    assert feed(build(PROXY, family, block) + rest, step) == (Header(2, *pair), rest)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE,
                                                 V2_SIGNATURE + b"\x21\x11"]))  # fmt: skip
def test_any_bytes_are_a_header_or_refused_or_too_short(noise: bytes, begin: bytes) -> None:
    """Nothing else is raised, and reading in one go or byte by byte makes no difference."""
    outcomes = []
    for step in (None, 1):
        try:
            outcomes.append(repr(feed(begin + noise, step)))
        except (BadHeader, EOFError) as error:
            outcomes.append(type(error).__name__)
    assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=50), st.data())
def test_one_wrong_byte_under_a_checksum_is_noticed(name: bytes, data: st.DataObject) -> None:
    good = bytearray(with_checksum(PROXY, TCP4, V4_BLOCK + field(0x05, name)))
    # Not in the fields' own numbers and lengths, which might make another field of the checksum.
    at = data.draw(st.sampled_from([*range(16, 28), *range(len(good) - 4, len(good))]))
    good[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadHeader):
        feed(bytes(good))


def test_which_first_bytes_may_be_a_header() -> None:
    assert may_begin(b"") is None
    assert may_begin(b"P") is None
    assert may_begin(b"PROXY") is None
    assert may_begin(b"PROXY ") is True
    assert may_begin(b"PROXY TCP4") is True
    assert may_begin(b"POST") is False
    assert may_begin(b"\r\n") is None
    assert may_begin(V2_SIGNATURE + b"\x21") is True
    assert may_begin(b"\x16\x03\x01") is False
