"""A flow to `throttle.proxy`, answered by the page's app: the way mitmproxy serves mitm.it.

Rule: the app sees the same scope as from the listener, but for the way that it came.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from mitmproxy import http
from mitmproxy.addons import asgiapp
from starlette.types import ASGIApp, Receive, Scope, Send

from mitmthrottle.proxy.facts import host_of
from mitmthrottle.proxy.proxy_protocol import is_hearsay


async def serve(app: ASGIApp, flow: http.HTTPFlow) -> None:
    """Give the flow its response."""

    async def adapted(scope: Scope, receive: Receive, send: Send) -> None:
        await app(_as_a_server_would(scope, flow), receive, send)

    await asgiapp.serve(adapted, flow)
    if flow.request.method == "HEAD" and flow.response is not None:
        flow.response.data.content = b""  # but its length stays declared


def _as_a_server_would(scope: Scope, flow: http.HTTPFlow) -> dict[str, Any]:
    headers = list(scope["headers"])
    if not any(name == b"host" for name, _ in headers):  # HTTP/2 calls it :authority
        headers.append((b"host", host_of(flow).encode()))
    return {
        **scope,
        "scheme": scope["scheme"].lower(),
        # mitmproxy quotes a path that is quoted already.
        "path": unquote(unquote(scope["path"])),
        "headers": headers,
        "mitmthrottle.way": "proxy",
        "mitmthrottle.hearsay": is_hearsay(flow.client_conn),
    }
