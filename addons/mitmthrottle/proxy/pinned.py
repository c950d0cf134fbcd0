"""Clients that do not take our certificate for a host.

Rule: with `throttle_pinned=passthrough` such a client is let through from its next try on, its
TLS untouched; opaque.py then paces it by the server's name.  Forgotten after an hour.
"""

from __future__ import annotations

from mitmproxy.tls import ClientHelloData, TlsData

FORGET_AFTER_S = 3600.0
MOST_REMEMBERED = 10_000
# A client that only hangs up may have had another reason: it is believed the second time.
HANG_UPS = 2


class Pinned:
    """Who has rejected us for which host."""

    def __init__(self) -> None:
        # (rejections, when last), the longest ago first
        self._rejections: dict[tuple[str, str], tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._rejections)

    def failed(self, data: TlsData, now: float) -> None:
        """The handshake with a client has failed."""
        who = _who(data)
        error = data.conn.error or ""
        if who is None or error == "connection closed early":  # it has not seen our certificate
            return
        before, _ = self._rejections.pop(who, (0, 0.0))
        rejected = "does not trust" in error
        self._rejections[who] = (HANG_UPS if rejected else before + 1, now)
        if len(self._rejections) > MOST_REMEMBERED:
            del self._rejections[next(iter(self._rejections))]

    def is_pinned(self, data: ClientHelloData, now: float) -> bool:
        """Whether this client has rejected us for this host lately."""
        who = _who(data)
        count, last = self._rejections.get(who, (0, 0.0)) if who else (0, 0.0)
        return count >= HANG_UPS and now - last < FORGET_AFTER_S


def _who(data: TlsData | ClientHelloData) -> tuple[str, str] | None:
    client = data.context.client
    if client.peername is None or not client.sni:
        return None
    return client.peername[0], client.sni.lower()
