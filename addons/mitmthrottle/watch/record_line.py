"""One record as other programs read it: a line of JSON.

Rule: field names are stable once shipped, quantities are in SI units, and every line has every
field. docs/record.md tells what each is.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quoted

from mitmthrottle.proxy.record import Record

NULL = "null"


def line_of(record: Record) -> bytes:
    """With its newline; ASCII only, so that no reader stumbles over what was in a URL.

    Put together by hand, since there is one for each response: a dictionary and its encoder take
    four times as long.
    """
    exchange, rule = record.exchange, record.rule
    client, user, kind = exchange.client_address, exchange.user, record.content
    status, asked, measured = exchange.status, record.asked_bytes_per_s, record.measured_bytes_per_s
    return (
        f'{{"time":{record.time:.6f}'
        f',"kind":"{record.kind}"'
        f',"direction":"{record.direction}"'
        f',"flow":{quoted(record.flow_id)}'
        f',"client":{NULL if client is None else quoted(client)}'
        f',"user":{NULL if user is None else quoted(user)}'
        f',"method":{NULL if exchange.opaque else quoted(exchange.method)}'
        f',"scheme":{quoted(exchange.scheme)}'
        f',"host":{quoted(exchange.host)}'
        f',"port":{exchange.port}'
        f',"path":{NULL if exchange.opaque else quoted(_valid(exchange.path))}'
        f',"content":{NULL if kind is None else quoted(kind)}'
        f',"status":{NULL if status is None else status}'
        f',"rule":{NULL if rule is None else quoted(rule.name)}'
        f',"line":{NULL if rule is None else rule.line}'
        f',"asked_bytes_per_s":{NULL if asked is None else asked}'
        f',"measured_bytes_per_s":{NULL if measured is None else f"{measured:.3f}"}'
        f',"bytes":{record.sent_bytes}'
        f',"waited_s":{record.waited_s:.6f}'
        f',"duration_s":{record.duration_s:.6f}'
        f',"outcome":{quoted(record.outcome)}'
        f',"version":{quoted(record.version)}}}\n'
    ).encode("ascii")


def _valid(text: str) -> str:
    """Bytes that are no UTF-8 become U+FFFD: half a surrogate pair is no valid JSON for many."""
    return (
        text
        if text.isascii()
        else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )
