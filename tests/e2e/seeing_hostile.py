"""A page of somebody else's, which tries all that a browser lets it do to the live page.

Rule: each attempt ends in a word: what was read, or how it failed; `none` of them may read or
switch anything.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ATTEMPTS = Path(__file__).with_name("seeing_hostile.js").read_text()


def got_something(result: str) -> bool:
    """An opaque answer without a byte is nothing; `failed` is nothing."""
    return result not in ("failed", "opaque 0 ", "opaque ")


@contextmanager
def evil_site() -> Iterator[int]:
    """Its port on loopback; an empty page under any name."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>evil</title><link rel=icon href=data:,><body>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()
