"""Addresses in one form, and which of them are this machine's own.

Rule: whoever asks whether two addresses are the same, or whether one is local, asks here.
"""

from __future__ import annotations

import ipaddress
import socket

type IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def canonical(text: str) -> IPAddress | None:
    """The address that a text means, however it is written; None for a name.

    An IPv4 address within IPv6 is the IPv4 address, a zone is left out, and the old spellings that
    resolvers still take (`127.1`, `2130706433`, `0x7f.0.0.1`) are what a resolver makes of them.

    >>> canonical("[::ffff:127.0.0.1]"), canonical("0177.1"), canonical("fe80::1%eth0")
    (IPv4Address('127.0.0.1'), IPv4Address('127.0.0.1'), IPv6Address('fe80::1'))
    """
    bare = text.strip().removeprefix("[").removesuffix("]").partition("%")[0].removesuffix(".")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if not bare[:1].isdigit() or len(bare) > 64:
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(bare))
        except (OSError, UnicodeError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_local(address: IPAddress) -> bool:
    """Whether a connection to or from it stays on this machine: loopback, the unspecified one, or
    one of its interfaces'."""
    if address.is_loopback or address.is_unspecified:
        return True
    if address.is_link_local and address.version == 6:
        return _has_interface(address)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return _can_bind(family, (str(address), 0))


def _has_interface(address: IPAddress) -> bool:
    """A link-local address belongs to an interface, and does not say to which."""
    return any(
        _can_bind(socket.AF_INET6, (str(address), 0, 0, index))
        for index, _ in socket.if_nameindex()
    )


def _can_bind(family: int, where: tuple[str | int, ...]) -> bool:
    """What the kernel lets us bind to is ours; no list of interfaces is as short or as true."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(where)
    except OSError:
        return False
    return True
