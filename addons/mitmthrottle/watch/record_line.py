"""One record as other programs read it: a line of JSON.

Rule: field names are stable once shipped, quantities are in SI units, and every line has every
field. docs/record.md tells what each is.
"""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted

from mitmthrottle.policy import Rule
from mitmthrottle.policy.language.outside import cut
from mitmthrottle.proxy.record import Record
from mitmthrottle.proxy.unpaced import Unpaced

NULL = "null"
LONGEST_PATH = 2048


def line_of(record: Record | Unpaced) -> bytes:
    """With its newline; ASCII only, so that no reader stumbles over what was in a URL.

    Put together by hand, since there is one for each response: a dictionary and its encoder take
    four times as long.
    """
    exchange, measured, path = record.exchange, record.measured_bytes_per_s, record.exchange.path
    opaque, kind, status = exchange.opaque, record.content, exchange.status
    asked_for = _asked_for(
        exchange.client_address,
        exchange.user,
        None if opaque else exchange.method,
        exchange.scheme,
        exchange.host,
        exchange.port,
    )
    return (
        f'{{"time":{record.time:.6f}'
        f',"kind":"{record.kind}"'
        f',"direction":"{record.direction}"'
        f',"flow":{quoted(record.flow_id)}'
        f"{asked_for}"
        f',"path":{NULL if opaque else quoted(cut(path, LONGEST_PATH))}'
        f',"content":{NULL if kind is None else quoted(kind)}'
        f',"status":{NULL if status is None else status}'
        f"{_WITHOUT_RULE if record.rule is None else _ruled(record.rule, record.asked_bytes_per_s)}"
        f',"measured_bytes_per_s":{NULL if measured is None else f"{measured:.3f}"}'
        f',"bytes":{record.sent_bytes}'
        f',"waited_s":{record.waited_s:.6f}'
        f',"duration_s":{record.duration_s:.6f}'
        f',"outcome":{quoted(record.outcome)}'
        f',"version":{quoted(record.version)}}}\n'
    ).encode("ascii")


@lru_cache(maxsize=1024)  # a client asks the same host again and again
def _asked_for(
    client: str | None, user: str | None, method: str | None, scheme: str, host: str, port: int
) -> str:
    return (
        f',"client":{NULL if client is None else quoted(client)}'
        f',"user":{NULL if user is None else quoted(user)}'
        f',"method":{NULL if method is None else quoted(method)}'
        f',"scheme":{quoted(scheme)}'
        f',"host":{quoted(host)}'
        f',"port":{port}'
    )


_WITHOUT_RULE = ',"rule":null,"line":null,"asked_bytes_per_s":null'


def _ruled(rule: Rule, asked_bytes_per_s: float | None) -> str:
    asked = NULL if asked_bytes_per_s is None else asked_bytes_per_s
    return f',"rule":{quoted(rule.name)},"line":{rule.line},"asked_bytes_per_s":{asked}'
