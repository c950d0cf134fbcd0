"""The `Server-Timing` of a slowed response: the developer tools of a browser show it.

Rule: it only adds. What the origin said there stays, and a rule's name cannot end the header,
whatever is in it. W3C Server Timing, https://www.w3.org/TR/server-timing/.
"""

from __future__ import annotations

from mitmproxy import http

from mitmthrottle.policy.language.units import format_rate

from .mark import shown
from .record import Record

NAME = "Server-Timing"
LONGEST_DESCRIPTION = 200
"""characters; some servers and clients refuse headers of 8 KiB"""


def add_start(
    headers: http.Headers, rule_name: str, asked_bytes_per_s: float | None, waited_s: float
) -> None:
    """With the headers: the rule, how long they were held (`dur`, in ms), the rate to come."""
    value = f"throttle;desc={_quoted(rule_name)};dur={_ms(waited_s)}"
    if asked_bytes_per_s is not None:
        value += f", throttle-asked;desc={_quoted(format_rate(asked_bytes_per_s))}"
    headers.add(NAME, value)


def trailers_with_end(trailers: http.Headers | None, record: Record) -> http.Headers:
    """Behind the body: what was measured, and how long it all took (`dur`, in ms)."""
    said = "too short to tell"
    if (measured := record.measured_bytes_per_s) is not None:
        said = format_rate(shown(measured))
    found = trailers.copy() if trailers is not None else http.Headers()
    # In lower case, as HTTP/2 and HTTP/3 want it; HTTP/1 trailers cannot be sent by mitmproxy.
    found.add(NAME.lower(), f"throttle-measured;desc={_quoted(said)};dur={_ms(record.duration_s)}")
    return found


def _quoted(text: str) -> str:
    """As a quoted-string (RFC 9110, 5.6.4). What is no printable ASCII is percent-encoded, since
    browsers read header values as Latin-1."""
    parts = (
        char
        if char.isascii() and char.isprintable()
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
        for char in text[:LONGEST_DESCRIPTION]
    )
    return '"' + "".join(parts).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"
