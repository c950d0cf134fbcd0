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

# h3, and what was tried before it: h3-29, h3-Q050, quic="..."; v="46,43".
_OVER_UDP = re.compile(r"\s*(h3|h3-\w+|quic)\s*=", re.IGNORECASE)
_SERVICE = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^,"])+')  # a comma inside quotes separates nothing

MANDATORY = https_records.SVCParamKeys.MANDATORY.value
ALPN = https_records.SVCParamKeys.ALPN.value
NO_DEFAULT_ALPN = https_records.SVCParamKeys.NO_DEFAULT_ALPN.value


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
    services = [
        service.strip()
        for value in response.headers.get_all("alt-svc")
        for service in _SERVICE.findall(value)
        if service.strip()
    ]
    kept = [service for service in services if not _OVER_UDP.match(service)]
    if len(kept) == len(services):
        return
    if kept:
        response.headers["alt-svc"] = ", ".join(kept)
    else:
        del response.headers["alt-svc"]


def without_h3_records(message: dns.DNSMessage) -> None:
    """Take HTTP/3 out of the HTTPS records of an answer (RFC 9460)."""
    message.answers = [
        record
        for record in message.answers
        if record.type != types.HTTPS or _says_more_than_h3(record)
    ]


def _says_more_than_h3(record: dns.ResourceRecord) -> bool:
    """Whether the record is of any use without HTTP/3, which is taken out of it."""
    parsed = https_records.unpack(record.data)
    offered = parsed.params.get(ALPN)
    if offered is None:
        return True
    kept = [name for name in _names(offered) if not name.startswith(b"h3")]
    if len(kept) == len(_names(offered)):
        return True
    if kept:
        parsed.params[ALPN] = b"".join(bytes((len(name),)) + name for name in kept)
    elif NO_DEFAULT_ALPN in parsed.params:
        return False  # HTTP/3 and nothing else
    else:
        del parsed.params[ALPN]  # what is left is the default: HTTP/1.1
        _not_mandatory_any_more(parsed.params)
    record.data = https_records.pack(parsed)
    return True


def _not_mandatory_any_more(params: dict[int, bytes]) -> None:
    """A list of mandatory keys may only name those that are there."""
    listed = params.get(MANDATORY, b"")
    keys = [listed[at : at + 2] for at in range(0, len(listed), 2)]
    if kept := b"".join(key for key in keys if int.from_bytes(key) != ALPN):
        params[MANDATORY] = kept
    else:
        params.pop(MANDATORY, None)


def _names(offered: bytes) -> list[bytes]:
    """The protocol names of an ALPN list: each behind a byte with its length (RFC 7301)."""
    names = []
    while offered:
        length = offered[0]
        names.append(offered[1 : 1 + length])
        offered = offered[1 + length :]
    return names
