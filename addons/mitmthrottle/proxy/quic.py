"""`throttle_quic=block`: browsers fall back to TCP, where there is back-pressure.

Rule: HTTP/3 is refused in all three places where a browser learns of it or tries it: the Alt-Svc
header, the HTTPS record in DNS, the first packet.
"""

from __future__ import annotations

import re

from mitmproxy import dns, http
from mitmproxy.addons.next_layer import _starts_like_quic
from mitmproxy.net.dns import https_records, types
from mitmproxy.proxy import commands, events, layer

_H3 = re.compile(r"^\s*h3(-\d+)?\s*=", re.IGNORECASE)


class Refused(layer.Layer):
    """Answers nothing and is gone."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


def refuse(nextlayer: layer.NextLayer) -> bool:
    """Whether that connection is QUIC; if so, it goes nowhere."""
    context = nextlayer.context
    if context.client.transport_protocol != "udp":
        return False
    if not _starts_like_quic(nextlayer.data_client(), context.server.address):
        return False
    nextlayer.layer = Refused(context)
    return True


def without_h3(response: http.Response) -> None:
    """Take HTTP/3 out of what the response advertises."""
    advertised = response.headers.get_all("alt-svc")
    if not any("h3" in value for value in advertised):
        return
    kept = [
        service.strip()
        for value in advertised
        for service in value.split(",")
        if not _H3.match(service)
    ]
    if kept:
        response.headers["alt-svc"] = ", ".join(kept)
    else:
        del response.headers["alt-svc"]


def without_h3_records(message: dns.DNSMessage) -> None:
    """Take HTTP/3 out of the HTTPS records of an answer."""
    for record in message.answers:
        if record.type != types.HTTPS:
            continue
        parsed = https_records.unpack(record.data)
        alpn = https_records.SVCParamKeys.ALPN.value
        offered = parsed.params.get(alpn)
        if offered is None:
            continue
        kept = b"".join(
            bytes((len(name),)) + name for name in _names(offered) if not name.startswith(b"h3")
        )
        if kept:
            parsed.params[alpn] = kept
        else:
            del parsed.params[alpn]
        record.data = https_records.pack(parsed)


def _names(offered: bytes) -> list[bytes]:
    """The protocol names of an ALPN list: each behind a byte with its length (RFC 7301)."""
    names = []
    while offered:
        length = offered[0]
        names.append(offered[1 : 1 + length])
        offered = offered[1 + length :]
    return names
