"""Does the proxy answer? What the image's HEALTHCHECK runs, every two seconds.

Rule: it asks as a client would, through the proxy's own port, so that a proxy that accepts
connections but does nothing with them counts as ill. Exit status 0 or 1. It imports next to
nothing, since it is started so often.

`PROXY_PORT` says which port (8080 by default); `HEALTH_URL` (http://ADDRESS:PORT/PATH) asks that
URL directly instead, for modes in which nothing can be asked through the proxy.
"""

import os
import socket
import sys

PAGE = "http://throttle.proxy/healthz"
TIMEOUT_S = 4.0


def healthy() -> bool:
    direct = os.environ.get("HEALTH_URL", "")
    if direct:
        authority, _, path = direct.removeprefix("http://").partition("/")
        host, _, port = authority.rpartition(":")
        target = f"/{path}"
    else:
        authority, target = "throttle.proxy", PAGE
        host, port = "127.0.0.1", os.environ.get("PROXY_PORT", "8080")
    request = f"GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as sock:
        sock.sendall(request.encode())
        status = b""
        while b"\n" not in status and (piece := sock.recv(1024)):
            status += piece
    return status.split(b" ", 2)[1:2] == [b"200"]


try:
    well = healthy()
except (OSError, ValueError) as error:
    print(f"the proxy does not answer: {error}")
    well = False
sys.exit(0 if well else 1)
