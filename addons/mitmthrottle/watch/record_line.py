"""One record as other programs read it: a line of JSON.

Rule: field names are stable once shipped, quantities are in SI units, and every line has every
field. docs/record.md tells what each is.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quoted

from mitmthrottle.proxy.record import Record


def line_of(record: Record) -> bytes:
    """With its newline; ASCII only, so that no reader stumbles over what was in a URL.

    Put together by hand, since there is one for each response: a dictionary and its encoder take
    four times as long.
    """
    exchange, rule, measured = record.exchange, record.rule, record.measured_bytes_per_s
    return (
        f'{{"time":{record.time:.6f}'
        f',"kind":"{record.kind}"'
        f',"direction":"{record.direction}"'
        f',"flow":{quoted(record.flow_id)}'
        f',"client":{_text(exchange.client_address)}'
        f',"user":{_text(exchange.user)}'
        f',"method":{_text(None if exchange.opaque else exchange.method)}'
        f',"scheme":{quoted(exchange.scheme)}'
        f',"host":{quoted(exchange.host)}'
        f',"port":{exchange.port}'
        f',"path":{_text(None if exchange.opaque else _valid(exchange.path))}'
        f',"content":{_text(record.content)}'
        f',"status":{_number(exchange.status)}'
        f',"rule":{_text(rule.name if rule else None)}'
        f',"line":{_number(rule.line if rule else None)}'
        f',"asked_bytes_per_s":{_number(record.asked_bytes_per_s)}'
        f',"measured_bytes_per_s":{"null" if measured is None else f"{measured:.3f}"}'
        f',"bytes":{record.sent_bytes}'
        f',"waited_s":{record.waited_s:.6f}'
        f',"duration_s":{record.duration_s:.6f}'
        f',"outcome":{quoted(record.outcome)}'
        f',"version":{quoted(record.version)}}}\n'
    ).encode("ascii")


def _text(text: str | None) -> str:
    return "null" if text is None else quoted(text)


def _number(number: float | None) -> str:
    return "null" if number is None else repr(number)


def _valid(text: str) -> str:
    """Bytes that are no UTF-8 become U+FFFD: half a surrogate pair is no valid JSON for many."""
    return (
        text
        if text.isascii()
        else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )
