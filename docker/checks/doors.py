"""What the demo shows to its own machine, and what it refuses to anybody else.

Rule: each check asks as the one it is about would ask: a browser on this machine, a page of
another site, a name that was made to point here.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import time

DOOR = "door"
BROWSER, LIVE, PROMETHEUS = 8000, 8001, 8002
_TIMEOUT_S = 10.0
_PATIENCE_S = 15.0


def live_page() -> list[str]:
    """It answers, and its metrics are there."""
    found = []
    for path in ("/", "/healthz", "/metrics"):
        status, body = _get(LIVE, path)
        if status != 200:
            found.append(f"the live page's {path} answers with status {status}")
        elif path == "/metrics" and b"mitmthrottle_" not in body:
            found.append("/metrics has no line of mitmthrottle's")
    return found


def prometheus() -> list[str]:
    """It has read the proxy's metrics, a few seconds after the start at the latest."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        status, body = _get(PROMETHEUS, "/api/v1/query?query=up")
        result = json.loads(body)["data"]["result"] if status == 200 else []
        if [sample["value"][1] for sample in result] == ["1"]:
            return []
        if time.monotonic() > deadline:
            return [f"Prometheus does not read the proxy's metrics: status {status}, {result}"]
        time.sleep(0.5)


def screen() -> list[str]:
    """The page is there, the screen behind it greets, and not for a page of another site."""
    found = []
    status, body = _get(BROWSER, "/vnc.html")
    if status != 200 or b"noVNC" not in body:
        found.append(f"no page for the browser's screen: status {status}")
    own = f"http://127.0.0.1:{BROWSER}"
    greeting = _websocket(own)
    if b" 101 " not in greeting or b"RFB 003." not in greeting:
        found.append(f"the browser's screen does not greet: {greeting[:80]!r}")
    for origin in ("http://evil.example", "http://127.0.0.1:9999", f"{own}.evil.example", "null"):
        if b" 403 " not in (refused := _websocket(origin))[:40]:
            found.append(f"a page of {origin} gets to the screen: {refused[:40]!r}")
    return found


def nothing_else() -> list[str]:
    """No name but this machine's own, and no way through to another site."""
    found = []
    for port in (BROWSER, LIVE, PROMETHEUS):
        for host in (
            "evil.example",
            f"127.0.0.1.evil.example:{port}",
            f"localhost@evil:{port}",
            "proxy",
        ):
            status, _ = _get(port, "/", host=host)
            if status not in (400, 403):
                found.append(f"port {port} answers to the name {host} with status {status}")
        status, _ = _get(port, "http://example.org/photo.jpg", host="example.org")
        if status not in (400, 403):
            found.append(f"port {port} serves as an open proxy: status {status}")
        asked = f"CONNECT example.org:443 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        if b" 200" in (answer := _raw(port, asked.encode())).split(b"\r\n")[0]:
            found.append(f"port {port} opens a tunnel: {answer[:40]!r}")
    return found


def _get(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(DOOR, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _websocket(origin: str) -> bytes:
    """What comes back when a page of `origin` opens the screen: the answer and the first frame."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET /websockify HTTP/1.1\r\nHost: 127.0.0.1:{BROWSER}\r\nOrigin: {origin}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    return _raw(BROWSER, request.encode(), until=b"RFB 003.")


def _raw(port: int, request: bytes, until: bytes = b"\r\n\r\n") -> bytes:
    """Send these bytes, and read until these come, or nothing more does."""
    answer = b""
    with socket.create_connection((DOOR, port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(request)
        while until not in answer and b" 403 " not in answer:
            try:
                more = connection.recv(4096)
            except TimeoutError:
                break
            if not more:
                break
            answer += more
    return answer
