"""Who asks: by address, class of device, User-Agent or proxy user.

The one rule: of one client condition all the keys given must hold, and each key's list means any
of. An IPv4 address that arrives mapped into IPv6 is that IPv4 address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import (
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mitmthrottle.policy.conditions import Bound, Condition, all_within, register, resolved
from mitmthrottle.policy.detect.devices import DEVICES, LONGEST_AGENT, Device, device_of
from mitmthrottle.policy.exchange import Exchange, plain_address
from mitmthrottle.policy.facts import ENCRYPTED, NO, YES, Facts, listed
from mitmthrottle.policy.language.fields import (
    FoldedPattern,
    Many,
    Strict,
    name_of_type,
    parsed,
    word_of,
)

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
            _covers(other.address, self.address, _network_within)
            and _covers(other.device, self.device, lambda a, b: bool(a == b))
            and _covers(other.user_agent, self.user_agent, lambda a, b: bool(b.covers(a)))
            and _covers(other.user, self.user, lambda a, b: bool(a == b))
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


def _covers(inner: tuple[Any, ...] | None, outer: tuple[Any, ...] | None, within: Any) -> bool:
    return outer is None or all_within(inner, outer, within)


def _client_plain(client: ClientMatch | str) -> object:
    if isinstance(client, str):
        return client
    return client.model_dump(by_alias=True, exclude_unset=True)


@dataclass(frozen=True)
class ClientOrGroupName:
    """Annotation: text names a group of `clients`, a mapping is a condition of its own."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            self._validate,
            handler.generate_schema(ClientMatch),
            serialization=core_schema.plain_serializer_function_ser_schema(_client_plain),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "description": "a group's name"}, handler(schema)]}

    @staticmethod
    def _validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        if isinstance(value, str):
            if "." in value or ":" in value:
                raise ValueError(
                    f"`{value}` is no group of `clients`: did you mean `{{address: {value}}}`?"
                )
            return value
        if not isinstance(value, dict | ClientMatch):
            raise ValueError(
                f"must be a group's name or a mapping as `{{device: mobile}}`, "
                f"not {name_of_type(value)}"
            )
        return handler(value)


type ClientOrGroup = Annotated[ClientMatch | str, ClientOrGroupName()]


class Client(Bound):
    __slots__ = ("_matches", "_names")

    def __init__(self, matches: tuple[ClientMatch, ...], names: Sequence[str]) -> None:
        self._matches = matches
        self._names = names

    def test(self, facts: Facts) -> int:
        exchange = facts.exchange
        headers = None if exchange.opaque else exchange.request_headers
        for match in self._matches:
            if matches_client(match, exchange.client_address, exchange.user, headers) is None:
                return YES
        return NO

    def why(self, facts: Facts) -> str:
        exchange = facts.exchange
        headers = None if exchange.opaque else exchange.request_headers
        keys = {
            matches_client(match, exchange.client_address, exchange.user, headers) or ""
            for match in self._matches
        }
        return f"the client is not {listed(self._names)}: " + ", ".join(
            self._said(key, exchange) for key in sorted(keys)
        )

    @staticmethod
    def _said(key: str, exchange: Exchange) -> str:
        """What an exchange says about one key of a client condition."""
        if key == "address":
            return f"its address is {exchange.client_address or 'unknown'}"
        if key == "user":
            return f"its proxy user is {exchange.user or 'unknown'}"
        if exchange.opaque:
            return ENCRYPTED
        if key == "user_agent":
            return f"its User-Agent is `{exchange.request_headers.get('user-agent', '')[:80]}`"
        return f"its device is {device_of(exchange.request_headers) or 'unknown'}"


@register
class ClientCondition(Condition):
    """`client`."""

    key = "client"
    type = Many[ClientOrGroup]
    place = 90
    cost = 90
    help = "by address, device, user_agent or user; or a group"
    example = "{client: {device: mobile}}"
    groups = "clients"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        names = [each if isinstance(each, str) else "the one asked for" for each in value]
        return Client(resolved(value, policy.clients), names)

    def is_group(self, text: str) -> bool:
        return "." not in text and ":" not in text

    def covers(self, mine: Any, its: Any) -> bool:
        return all_within(its, mine, lambda narrow, wide: bool(wide.covers(narrow)))
