"""The PROXY protocol's header, versions 1 and 2: what a balancer says of the client behind it.

Rule: pure, and never a byte too many. Whoever reads asks how many bytes surely belong to the
header, reads at most so many, and asks again; what follows the header stays where it is.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1_SIGNATURE = b"PROXY "
SIGNATURES = (V2_SIGNATURE, V1_SIGNATURE)

V1_MOST_BYTES = 107
"""with its CRLF; what the protocol itself says is the longest"""
V2_FIXED_BYTES = 16
V2_MOST_BYTES = 4096
"""Two addresses of 16 bytes, and room for what balancers add (names, certificates' subjects). The
protocol would allow 64 KiB, which no sender needs and any could make us hold."""

Address = tuple[str, int]

_PORT = re.compile(rb"0|[1-9][0-9]{0,4}", re.ASCII)
_LOCAL, _PROXY = 0, 1
_ADDRESS_BYTES = {0: 0, 1: 4, 2: 16, 3: 108}  # AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX
_UNSPECIFIED, _INET, _INET6, _UNIX = 0, 1, 2, 3
_CRC32C = 0x03


class BadHeader(ValueError):
    """What came is no header, or a broken one; the text says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a whole header says."""

    version: int
    source: Address | None
    """the client's address and port; None: the connection's own (`LOCAL`, `UNKNOWN`, a socket
    that has a path)"""
    destination: Address | None


@dataclass(frozen=True, slots=True)
class More:
    """The header is not complete: `at_most` bytes can be read without reading beyond it."""

    at_most: int


def parse(data: bytes) -> Header | More:
    """What the beginning of a connection says; `data` must not go beyond the header.

    Raises BadHeader as soon as a byte cannot belong to one.

    >>> parse(b"PROXY TCP4 198.18.0.7 198.18.0.1 40000 8080\\r\\n").source
    ('198.18.0.7', 40000)
    """
    for signature, version in ((V1_SIGNATURE, _v1), (V2_SIGNATURE, _v2)):
        if data.startswith(signature):
            return version(data)
        if signature.startswith(data):
            return More(len(signature) - len(data))
    raise BadHeader("it does not begin with a PROXY protocol header")


def may_begin(data: bytes) -> bool | None:
    """Whether these first bytes are a header's: True, False, or None if more of them must tell."""
    if any(data.startswith(signature) for signature in SIGNATURES):
        return True
    return None if any(signature.startswith(data) for signature in SIGNATURES) else False


# -- version 1: a line


def _v1(data: bytes) -> Header | More:
    whole = data.endswith(b"\r\n")
    line = data[:-2] if whole else data.removesuffix(b"\r")
    if b"\r" in line or b"\n" in line:
        raise BadHeader("its line does not end with CRLF")
    if len(data) > V1_MOST_BYTES or (not whole and len(data) == V1_MOST_BYTES):
        raise BadHeader(f"its line is longer than {V1_MOST_BYTES} bytes")
    if whole:
        return _line(line)
    return More(1 if data.endswith(b"\r") else min(2, V1_MOST_BYTES - len(data)))


def _line(line: bytes) -> Header:
    kind, *rest = line[len(V1_SIGNATURE) :].split(b" ")
    if kind == b"UNKNOWN":  # whatever follows is to be ignored
        return Header(1, None, None)
    if kind not in (b"TCP4", b"TCP6"):
        raise BadHeader(f"its protocol is {_shown(kind)}, not TCP4, TCP6 or UNKNOWN")
    if len(rest) != 4:
        raise BadHeader("it does not name two addresses and two ports")
    version = 4 if kind == b"TCP4" else 6
    hosts = [_host(text, version) for text in rest[:2]]
    ports = [_port(text) for text in rest[2:]]
    return Header(1, (hosts[0], ports[0]), (hosts[1], ports[1]))


def _host(text: bytes, version: int) -> str:
    try:
        # A scope (`fe80::1%eth0`) is a matter of the balancer's own machine.
        address = ipaddress.ip_address("" if b"%" in text else text.decode("ascii"))
    except ValueError:
        raise BadHeader(f"{_shown(text)} is no address") from None
    if address.version != version:
        raise BadHeader(f"{_shown(text)} is no IPv{version} address")
    return str(address)


def _port(text: bytes) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise BadHeader(f"{_shown(text)} is no port")
    return int(text)


def _shown(text: bytes) -> str:
    return repr(text[:40])[1:]


# -- version 2: binary


def _v2(data: bytes) -> Header | More:
    if len(data) < V2_FIXED_BYTES:
        return More(V2_FIXED_BYTES - len(data))
    version, command = data[12] >> 4, data[12] & 0x0F
    family, transport = data[13] >> 4, data[13] & 0x0F
    length = int.from_bytes(data[14:16])
    if version != 2:
        raise BadHeader(f"its version is {version}, not 2")
    if command not in (_LOCAL, _PROXY):
        raise BadHeader(f"its command is {command}, neither LOCAL nor PROXY")
    size = V2_FIXED_BYTES + length
    if size > V2_MOST_BYTES:
        raise BadHeader(f"it would be {size} bytes long; {V2_MOST_BYTES} is the most that is read")
    if command == _PROXY and (family not in _ADDRESS_BYTES or transport > 2):
        raise BadHeader(f"its family and transport are {data[13]:#04x}, which mean nothing")
    if command == _PROXY and length < 2 * _ADDRESS_BYTES[family] + _ports_bytes(family):
        raise BadHeader("it is too short for its addresses")
    if len(data) < size:
        return More(size - len(data))
    if command == _LOCAL:
        return Header(2, None, None)  # a health check of the balancer's own, say
    return _block(data, family)


def _ports_bytes(family: int) -> int:
    return 4 if family in (_INET, _INET6) else 0


def _block(data: bytes, family: int) -> Header:
    width = _ADDRESS_BYTES[family]
    begin = V2_FIXED_BYTES
    hosts = data[begin : begin + width], data[begin + width : begin + 2 * width]
    at = begin + 2 * width
    ports = int.from_bytes(data[at : at + 2]), int.from_bytes(data[at + 2 : at + 4])
    _check_fields(data, at + _ports_bytes(family))
    if family == _INET:
        source, destination = (str(ipaddress.IPv4Address(host)) for host in hosts)
    elif family == _INET6:
        source, destination = (str(ipaddress.IPv6Address(host)) for host in hosts)
    else:  # unspecified, or a path: nothing that could be told from another client
        return Header(2, None, None)
    return Header(2, (source, ports[0]), (destination, ports[1]))


def _check_fields(data: bytes, at: int) -> None:
    """The TLVs: their lengths must add up, and a checksum must be right; we need none of them."""
    while at < len(data):
        begin = at + 3
        end = begin + int.from_bytes(data[at + 1 : begin])
        if begin > len(data) or end > len(data):
            raise BadHeader("its additional fields do not end where it ends")
        if data[at] == _CRC32C:
            if end - begin != 4:
                raise BadHeader("its checksum is not four bytes long")
            if crc32c(data[:begin] + bytes(4) + data[end:]) != int.from_bytes(data[begin:end]):
                raise BadHeader("its checksum is wrong")
        at = end


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum (RFC 9260, appendix A), which Python's `zlib` does not have.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
