"""Who may read the live page, who may switch, and what a page of somebody else's cannot do.

Rule: whatever is not surely the page itself, or somebody who typed its address, is refused.

Four things have to hold.  *Host*: a name that can only mean us, so that a name of an attacker's
that was made to point to us (DNS rebinding) fails.  *Fetch metadata and Origin*: a request that a
browser makes for another site is refused, but for a link to the page itself.  *Client*: only
those in `writers` may switch, and see more than what is their own.  *Token*: switching needs one
that only a reader of `/api/state` can know, in a header of its own, which no other site's page
can send without being asked about it first.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mitmthrottle.proxy.addresses import canonical, is_local
from mitmthrottle.proxy.facts import PAGE_HOST

TOKEN_HEADER = "x-throttle-token"  # its name, no secret
DEFAULT_WRITERS = ("127.0.0.0/8", "::1/128")
DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?")

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network
type Way = Literal["proxy", "listener"]


@dataclass(frozen=True, slots=True)
class Visit:
    """The facts of one request for the page."""

    way: Way
    """through the proxy to `throttle.proxy`, or straight to the listener"""
    method: str
    path: str
    scheme: str
    hosts: tuple[str, ...]
    """every Host header there is"""
    client: str | None
    """its address"""
    headers: Mapping[str, str]
    """names in lower case"""
    hearsay: bool = False
    """the address is only what a balancer says, or a tunnel's packets"""
    by_ourselves: bool = False
    """it came to the listener out of this very proxy, so nobody knows from whom"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, for people, and the status that says so to programs."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class Access:
    """What is allowed. `names` are Host headers: `name` for any port, or `name:port`."""

    token: str = field(repr=False)
    names: frozenset[str] = frozenset()
    writers: tuple[Network, ...] = field(default=())

    def refusal(self, visit: Visit) -> Refusal | None:
        """Why this request gets nothing at all; None: it may read."""
        return self._wrong_host(visit) or self._foreign(visit) or self._in_a_circle(visit)

    def refusal_to_switch(self, visit: Visit) -> Refusal | None:
        """Why a request that may read may not switch a rule."""
        if not self.trusts(visit):
            return Refusal(403, self.why_read_only(visit))
        if not hmac.compare_digest(
            visit.headers.get(TOKEN_HEADER, "").encode(), self.token.encode()
        ):
            return Refusal(
                403,
                f"the header {TOKEN_HEADER} is missing or from before the proxy's last start: "
                "send `reader.token` of /api/state",
            )
        return None

    def trusts(self, visit: Visit) -> bool:
        """Whether this client may switch, and see everybody's traffic."""
        address = canonical(visit.client) if visit.client else None
        if address is None or (visit.hearsay and is_local(address)):
            return False
        return any(address in network for network in self.writers)

    def why_read_only(self, visit: Visit) -> str:
        address = canonical(visit.client) if visit.client else None
        who = f"you come from {address}" if address else "it is not known where you come from"
        if visit.hearsay:
            who += ", as a balancer or a tunnel says"
        return (
            f"{who}, and only {', '.join(map(str, self.writers)) or 'nobody'} may switch rules "
            "(option throttle_page_writers)"
        )

    def _wrong_host(self, visit: Visit) -> Refusal | None:
        if len(visit.hosts) != 1:
            return Refusal(400, "there must be one Host header")
        name, port = split_host(visit.hosts[0])
        if visit.way == "proxy":
            known = name == PAGE_HOST
        else:
            explicit = port if port is not None else DEFAULT_PORTS.get(visit.scheme)
            known = name in self.names or f"{name}:{explicit}" in self.names
        if known:
            return None
        return Refusal(
            421,
            "this address is not answered under that name: open http://throttle.proxy/ through "
            "the proxy, or the address that the proxy's log names; more names: option "
            "throttle_page_hosts",
        )

    def _foreign(self, visit: Visit) -> Refusal | None:
        headers = visit.headers
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"{visit.scheme}://{visit.hosts[0]}".lower():
            return Refusal(403, "a page of another site asked for this")
        site = headers.get("sec-fetch-site", "none")
        if site in ("none", "same-origin"):
            return None
        is_link = (
            visit.method == "GET"
            and visit.path == "/"
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        )
        return None if is_link else Refusal(403, "a page of another site asked for this")

    def _in_a_circle(self, visit: Visit) -> Refusal | None:
        """Whoever uses the proxy could reach its loopback address, and would look like it."""
        if not visit.by_ourselves:
            return None
        return Refusal(403, "this came through the proxy: open http://throttle.proxy/ instead")


def split_host(host: str) -> tuple[str, int | None]:
    """A Host header's name, folded, and its port.

    >>> split_host("[::1]:8089"), split_host("LocalHost")
    (('[::1]', 8089), ('localhost', None))
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return host.lower(), None  # no name that anybody has allowed
    return found[1].lower().removesuffix("."), int(found[2]) if found[2] else None


def names_for(address: str, port: int, more: Sequence[str]) -> frozenset[str]:
    """The Host headers of a listener on this address; `more` are the user's own.

    An address that was asked for is as safe as a loopback one: rebinding needs a name.
    """
    own = {"localhost", "127.0.0.1", "[::1]"}
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        own.add(address.lower())
    else:
        if not parsed.is_unspecified:
            own.add(f"[{parsed}]" if parsed.version == 6 else str(parsed))
    return frozenset(f"{name}:{port}" for name in own) | {parse_name(name) for name in more}


def parse_name(text: str) -> str:
    """One of `throttle_page_hosts`: `lab.example` (any port) or `lab.example:18089`.

    ValueError with a remedy for anything else.
    """
    name, port = split_host(text.strip())
    if not name or any(char in name for char in "/ @*?#,") or (":" in name and "[" not in name):
        raise ValueError(f"`{text}` is no host: write `lab.example` or `lab.example:18089`")
    return name if port is None else f"{name}:{port}"


def parse_writers(texts: Sequence[str]) -> tuple[Network, ...]:
    """`throttle_page_writers`. ValueError with a remedy for what is no network."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text.strip()))
        except ValueError:
            raise ValueError(
                f"`{text}` is no network: write `192.168.1.0/24`, or `192.168.1.7` for one client"
            ) from None
    return tuple(found)
