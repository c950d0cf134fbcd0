"""Who asks: by address, class of device, User-Agent or proxy user.

The one rule: of one client condition all the keys given must hold, and each key's list means any
of. An IPv4 address that arrives mapped into IPv6 is that IPv4 address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import model_validator

from mitmthrottle.policy.detect.devices import DEVICES, LONGEST_AGENT, Device, device_of
from mitmthrottle.policy.exchange import plain_address
from mitmthrottle.policy.language.fields import FoldedPattern, Many, Strict, parsed, word_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> Network:
    """`10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`; ValueError with a remedy."""
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError:
        try:
            right = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            raise ValueError(
                f"`{text}` is no address or network: write `192.0.2.7` or `10.0.0.0/8`"
            ) from None
        raise ValueError(
            f"`{text}` has bits set beyond its prefix: did you mean `{right}`?"
        ) from None
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _user(text: str) -> str:
    if not text:
        raise ValueError("an empty user name: leave `user` out")
    return text


_network = parsed(parse_network, "an address or a network", "10.0.0.0/8")
_device = parsed(word_of(DEVICES, "class of device"), "a class of device", "mobile",
                 enum=list(DEVICES))  # fmt: skip
_name = parsed(_user, "the name of a proxy user", "alice")


type NetworkItem = Annotated[Network, _network[0], _network[1], _network[2]]
type DeviceItem = Annotated[Device, _device[0], _device[2]]
type UserName = Annotated[str, _name[0], _name[2]]


class ClientMatch(Strict):
    """One client condition; None means that the key was not given."""

    address: Many[NetworkItem] = None
    device: Many[DeviceItem] = None
    user_agent: Many[FoldedPattern] = None
    user: Many[UserName] = None

    @model_validator(mode="before")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value:
            raise ValueError("names no client: give `address`, `device`, `user_agent` or `user`")
        return value

    def covers(self, other: Self) -> bool:
        """True only when it is certain that each client of `other` is one of these."""
        return (
            _all_within(other.address, self.address, _network_within)
            and _all_within(other.device, self.device, lambda a, b: bool(a == b))
            and _all_within(other.user_agent, self.user_agent, lambda a, b: bool(b.covers(a)))
            and _all_within(other.user, self.user, lambda a, b: bool(a == b))
        )


def matches_client(
    match: ClientMatch,
    address: str | None,
    user: str | None,
    headers: Mapping[str, str] | None,
) -> str | None:
    """The first key that fails (`address`, `device`, …), or None when the client matches.

    `headers` None: they cannot be read, so conditions on them fail.
    """
    if match.user is not None and user not in match.user:
        return "user"
    if match.address is not None and not address_in(address, match.address):
        return "address"
    if match.user_agent is not None:
        agent = (headers or {}).get("user-agent", "")[:LONGEST_AGENT]
        if headers is None or not any(pattern.matches(agent) for pattern in match.user_agent):
            return "user_agent"
    if match.device is not None and (headers is None or device_of(headers) not in match.device):
        return "device"
    return None


def address_in(address: str | None, networks: tuple[Network, ...]) -> bool:
    """Whether a client's address lies in one of the networks."""
    if not address:
        return False
    try:
        parsed_address = ipaddress.ip_address(plain_address(address))
    except ValueError:
        return False
    return any(parsed_address in network for network in networks)


def _network_within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def _all_within(inner: tuple[Any, ...] | None, outer: tuple[Any, ...] | None, within: Any) -> bool:
    """Whether each of `inner` lies within one of `outer`; None is everything."""
    if outer is None:
        return True
    return inner is not None and all(any(within(a, b) for b in outer) for a in inner)
