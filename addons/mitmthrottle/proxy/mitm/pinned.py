"""Clients that do not take our certificate for a host.

Rule: with `throttle_pinned=passthrough` such a client is let through from its next try on, its
TLS untouched; relay.py then paces it by the server's name.  That holds for this client and this
host, over TCP, and is forgotten after an hour.

There are three ways to reject a certificate.  *To say so*, by an alert in the handshake: believed
at once.  *To hang up* in the handshake.  And *to finish the handshake and hang up without a word*,
as apps do that compare the certificate with their own list afterwards (OkHttp's pins).  The last
two may have another reason, so they are believed the second time, and not if the same client has
taken our certificate and talked to that host in between.
"""

from __future__ import annotations

from dataclasses import dataclass

from mitmproxy.connection import Client
from mitmproxy.tls import ClientHelloData, TlsData

FORGET_AFTER_S = 3600.0
MOST_REMEMBERED = 10_000
HANG_UPS = 2
# Pins are compared at once; a browser keeps a connection that it opened in advance for longer.
WORDLESS_S = 2.0
# What mitmproxy says of a handshake that ended before the client had seen our certificate.
NOT_REJECTED = ("connection closed early", "Cannot parse ClientHello")
# And of one that says so.  What it says of a mere hang-up has these words further on.
_SAYS_SO = "The client does not trust"

Who = tuple[str, str]  # the client's address, the server's name


@dataclass(frozen=True, slots=True)
class _Rejections:
    said_so: bool
    hang_ups: int
    last: float

    @property
    def believed(self) -> bool:
        return self.said_so or self.hang_ups >= HANG_UPS


def says_so(error: str | None) -> bool:
    """Whether a handshake's error is a client that says that it does not trust our certificate."""
    return error is not None and error.startswith(_SAYS_SO)


class Pinned:
    """Who has rejected us for which host."""

    def __init__(self) -> None:
        self._rejections: dict[Who, _Rejections] = {}  # the longest ago first
        # Connections whose handshake is through and on which nothing was said yet, by client.
        self._wordless: dict[str, tuple[Who, float]] = {}

    def __len__(self) -> int:
        return len(self._rejections) + len(self._wordless)

    def failed(self, data: TlsData, now: float) -> None:
        """The handshake with a client has failed."""
        error = data.conn.error or ""
        if (who := _who(data)) and not error.startswith(NOT_REJECTED):
            self._rejected(who, now, said_so=says_so(error))

    def established(self, data: TlsData, now: float) -> None:
        """The handshake with a client is through, under our certificate."""
        if who := _who(data):
            self._wordless[data.context.client.id] = (who, now)

    def spoke(self, client: Client) -> None:
        """It has said something in there, so it takes our certificate: earlier hang-ups had
        another reason."""
        if found := self._wordless.pop(client.id, None):
            who, _ = found
            before = self._rejections.get(who)
            if before is not None and not before.said_so:
                del self._rejections[who]

    def gone(self, client: Client, now: float) -> None:
        """The connection has ended."""
        if found := self._wordless.pop(client.id, None):
            who, established = found
            if now - established < WORDLESS_S:
                self._rejected(who, now, said_so=False)

    def is_pinned(self, data: ClientHelloData, now: float) -> bool:
        """Whether this client has rejected us for this host lately."""
        who = _who(data)
        found = self._rejections.get(who) if who else None
        return found is not None and found.believed and now - found.last < FORGET_AFTER_S

    def _rejected(self, who: Who, now: float, *, said_so: bool) -> None:
        self._forget(now)
        before = self._rejections.pop(who, _Rejections(False, 0, now))
        hang_ups = before.hang_ups + (not said_so)
        self._rejections[who] = _Rejections(before.said_so or said_so, hang_ups, now)

    def _forget(self, now: float) -> None:
        """What is too long ago, and what is too much."""
        while self._rejections:
            oldest = next(iter(self._rejections))
            too_long_ago = now - self._rejections[oldest].last >= FORGET_AFTER_S
            if not too_long_ago and len(self._rejections) < MOST_REMEMBERED:
                return
            del self._rejections[oldest]


def _who(data: TlsData | ClientHelloData) -> Who | None:
    """None where nobody could be let through: it is not known where to (the TLS of an HTTPS proxy
    itself), or it is QUIC, of which the bytes could not be paced. Such clients try TCP next."""
    client, address = data.context.client, data.context.server.address
    if client.peername is None or address is None or client.transport_protocol != "tcp":
        return None
    return client.peername[0], (client.sni or address[0]).lower()
