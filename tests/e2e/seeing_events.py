"""An origin that sends what it has when it has it, as server-sent events do: chunked, a little at a
time, over plain HTTP/1.1.

Rule: it is slower than any rule that the test has for it, so the rate is its own.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

EVERY_S = 0.04
EVENT_BYTES = 1000


class _Events(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """`/20000.jpg?7`: so many bytes."""
        left = int("".join(re.findall(r"^.*?(\d+)", self.path)))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while left > 0:
            size = min(EVENT_BYTES, left)
            self.wfile.write(b"%x\r\n" % size + b"e" * size + b"\r\n")
            left -= size
            time.sleep(EVERY_S)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def running_events() -> Iterator[int]:
    """Its port, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Events)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
