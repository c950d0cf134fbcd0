"""The plain facts of one request and its response, all that a policy may look at.

The one rule: whoever decides sees an Exchange and nothing else, so that the proxy, `explain`
and the tests ask the same question.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Exchange(NamedTuple):
    """Sizes in bytes, time in Unix seconds; None means not known (yet).

    A tuple, since one is made for each response: a frozen dataclass takes three times as long.
    """

    host: str
    path: str = "/"  # with the query
    method: str = "GET"
    scheme: str = "https"
    port: int = 443
    status: int | None = None  # None: no response yet
    request_headers: Mapping[str, str] = _NO_HEADERS  # lower case
    content_type: str | None = None
    size: int | None = None  # declared length of the response's body
    seen: int = 0  # bytes of the body seen so far
    complete: bool = False  # the whole body has been seen: `seen` is its size
    first_bytes: bytes | None = None  # first bytes of the body, None until seen
    client_address: str | None = None
    user: str | None = None  # who authenticated at the proxy
    websocket: bool = False
    opaque: bool = False  # the payload cannot be read: host is the SNI, little else is known
    time: float = 0.0
    elapsed_s: float = 0.0  # since the policy's start
    serial: int = 0  # nth response since the policy's start
    content_encoding: str | None = None  # of the body, several joined with commas
    first_bytes_complete: bool = False  # no more first bytes than `first_bytes` will be waited for

    @property
    def client_identity(self) -> str:
        """Who is asking, for shares and budgets: the proxy user, else the address."""
        if self.user:
            return f"user {self.user}"
        return plain_address(self.client_address) if self.client_address else ""

    @property
    def has_no_body(self) -> bool:
        """A response that cannot have a body, so waiting for its bytes would be in vain."""
        return (
            self.method == "HEAD"
            or self.status in (204, 304)
            or self.size == 0
            or (self.complete and self.seen == 0)
        )


@lru_cache(maxsize=16384)
def plain_address(address: str) -> str:
    """One spelling for each client: `::ffff:10.0.0.7` -> `10.0.0.7`, `fe80::1%eth0` -> `fe80::1`.

    What is no address (a Unix socket's name, say) stays as it is.
    """
    try:
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
