"""The end of the ladder: a response that is refused, reset or never comes.

Rule: a blocked exchange gets an answer of ours in place of the origin's, so that the same gate
(and a rule's `delay`) holds for it too.
"""

from __future__ import annotations

import html
import socket
import struct
from typing import Literal

from mitmproxy import http
from mitmproxy.net.http import status_codes
from mitmproxy.proxy import server

Block = int | Literal["reset", "timeout"]


def answer(block: Block, rule_name: str, method: str) -> http.Response:
    """What the client gets.  `reset` and `timeout` have a status only for the record."""
    status = block if isinstance(block, int) else 503 if block == "reset" else 504
    reason = status_codes.RESPONSES.get(status, "Blocked")
    page = (
        f"<!doctype html><title>{status} {html.escape(reason)}</title>"
        f"<h1>{status} {html.escape(reason)}</h1>"
        f"<p>Blocked by the rule <q>{html.escape(rule_name)}</q> of mitmthrottle.</p>\n"
    )
    body = b"" if method == "HEAD" else page.encode()
    return http.Response.make(status, body, {"Content-Type": "text/html; charset=utf-8"})


def reset_on_close(handler: server.ConnectionHandler) -> None:
    """Let the client's TCP connection end with a reset when mitmproxy closes it."""
    transport = handler.transports.get(handler.client)
    if transport is None or transport.writer is None:
        return
    sock = transport.writer.get_extra_info("socket", None)
    if sock is not None:
        # Linger on, zero seconds: close() drops what is unsent and sends RST (socket(7)).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
