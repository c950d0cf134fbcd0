"""The page's web application, the same for the listener and for `throttle.proxy`.

Rule: `Guarded` stands before everything, so that nothing is answered that access.py has not let
in, and nothing goes out without the headers that keep other sites' pages away from it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import api
from .access import Access, Visit
from .view import Reading

logger = logging.getLogger(__name__)

FILES = Path(__file__).with_name("files")
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEALTH = ("/healthz", "/readyz")
VISIT = "mitmthrottle.visit"
"""Where the scope holds the facts that were judged."""

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class SwitchRefused(ValueError):
    """A rule that cannot be switched; the text says why."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What the page asks of the proxy."""

    access: Callable[[], Access]
    is_ourselves: Callable[[str, int], bool]
    """whether a client of the listener is this very proxy"""
    state: Callable[[Reading], api.State]
    policy_text: Callable[[Reading], str | None]
    switch: Callable[[str, bool], None]
    """a rule on or off; raises SwitchRefused"""
    pac: Callable[[str, str | None], str]
    """for a reader who knows us by this name, and whose proxy is this one"""
    metrics: Callable[[str], tuple[bytes, str]]
    authority: Callable[[], bytes | None]
    """the PEM of the proxy's certificate authority"""
    version: Callable[[], str | None]
    """of the policy in force; None: nothing is slowed"""


class Guarded:
    """The ASGI app with its guard before it."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app = app
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        visit = self._visit(scope)
        scope[VISIT] = visit
        answer: ASGIApp = self._app
        if refusal := self._backend.access().refusal(visit):
            answer = _refuse(refusal.status, refusal.why)
            if visit.method in ("GET", "HEAD") and visit.path in HEALTH:
                answer = self._health  # whoever looks after the proxy knows it by any name
        await answer(scope, receive, _with_headers(send))

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whether it is well, and nothing else."""
        status = 200 if self._backend.version() is not None else 503
        await PlainTextResponse("ok" if status == 200 else "ill", status)(scope, receive, send)

    def _visit(self, scope: Scope) -> Visit:
        client = scope.get("client")
        pairs = [(name.decode("latin-1"), value.decode("latin-1"))
                 for name, value in scope["headers"]]  # fmt: skip
        through_proxy = scope.get("mitmthrottle.way") == "proxy"
        return Visit(
            way="proxy" if through_proxy else "listener",
            method=scope["method"],
            path=scope["path"],
            scheme=scope["scheme"],
            hosts=tuple(value for name, value in pairs if name == "host"),
            client=client[0] if client else None,
            headers=dict(pairs),
            hearsay=bool(scope.get("mitmthrottle.hearsay")),
            by_ourselves=bool(
                client and not through_proxy and self._backend.is_ourselves(client[0], client[1])
            ),
        )


def application(backend: Backend) -> ASGIApp:
    """The app for these answers."""
    endpoints = _Endpoints(backend)
    files = [path for path in FILES.iterdir() if path.suffix in TYPES]
    routes = [
        Route("/", endpoints.page),
        Route("/api/state", endpoints.state),
        Route("/api/policy", endpoints.policy),
        Route("/api/rules/{name:path}", endpoints.rule, methods=["POST"]),
        Route("/metrics", endpoints.metrics),
        Route("/proxy.pac", endpoints.pac),
        Route("/ca.pem", endpoints.authority),
        *(Route(path, endpoints.health) for path in HEALTH),
        *(Route(f"/{path.name}", _file(path)) for path in files),
    ]
    handlers = {HTTPException: _http_fault, Exception: _fault}
    return Guarded(Starlette(routes=routes, exception_handlers=handlers), backend)


class _Endpoints:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._page = (FILES / "index.html").read_bytes()

    async def page(self, request: Request) -> Response:
        return Response(self._page, media_type="text/html")

    async def state(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        number = int(since) if since.isascii() and since.isdigit() and len(since) < 12 else 0
        answer = self._backend.state(self._reading(request, number))
        return Response(
            # Half a surrogate pair, of whatever program has told it, is no UTF-8.
            json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"),
            media_type="application/json",
        )

    async def policy(self, request: Request) -> Response:
        text = self._backend.policy_text(self._reading(request))
        return JSONResponse({"version": self._backend.version(), "text": text})

    async def rule(self, request: Request) -> Response:
        visit: Visit = request.scope[VISIT]
        if refusal := self._backend.access().refusal_to_switch(visit):
            return JSONResponse({"error": refusal.why}, refusal.status)
        action = request.query_params.get("action")
        if action not in ("disable", "enable"):
            return JSONResponse({"error": "say ?action=disable or ?action=enable"}, 400)
        name = request.path_params["name"]
        try:
            self._backend.switch(name, action == "enable")
        except SwitchRefused as refused:
            return JSONResponse({"error": str(refused)}, 404)
        return JSONResponse({"rule": name, "switched_off": action == "disable"})

    async def metrics(self, request: Request) -> Response:
        body, content_type = self._backend.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def pac(self, request: Request) -> Response:
        chosen = request.query_params.get("proxy")
        try:
            text = self._backend.pac(request.scope[VISIT].hosts[0], chosen)
        except ValueError as fault:
            return PlainTextResponse(f"?proxy=: {fault}", 400)
        return Response(text, headers={"content-type": "application/x-ns-proxy-autoconfig"})

    async def authority(self, request: Request) -> Response:
        pem = self._backend.authority()
        if pem is None:
            return PlainTextResponse("the authority's file cannot be read: see http://mitm.it", 404)
        return Response(
            pem,
            headers={
                "content-type": "application/x-x509-ca-cert",
                "content-disposition": 'attachment; filename="mitmproxy-ca-cert.pem"',
            },
        )

    async def health(self, request: Request) -> Response:
        version = self._backend.version()
        if version is None:
            return PlainTextResponse("no policy is in force", 503)
        return PlainTextResponse(f"ok, policy {version}")

    def _reading(self, request: Request, since: int = 0) -> Reading:
        visit: Visit = request.scope[VISIT]
        access = self._backend.access()
        trusted = access.trusts(visit)
        return Reading(
            address=visit.client,
            trusted=trusted,
            why_not=None if trusted else access.why_read_only(visit),
            token=access.token if trusted else None,
            since=since,
        )


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    body, media_type = path.read_bytes(), TYPES[path.suffix]

    async def endpoint(request: Request) -> Response:
        return Response(body, media_type=media_type)

    return endpoint


def _refuse(status: int, why: str) -> ASGIApp:
    return PlainTextResponse(f"{status}: {why}\n", status)


def _http_fault(request: Request, fault: Exception) -> Response:
    status = fault.status_code if isinstance(fault, HTTPException) else 500
    said = {404: "there is nothing here: the page is at /", 405: "not with this method"}
    headers = fault.headers if isinstance(fault, HTTPException) else None
    return PlainTextResponse(f"{status}: {said.get(status, 'no')}\n", status, headers)


def _fault(request: Request, fault: Exception) -> Response:
    return PlainTextResponse("500: the page has failed, see the proxy's log\n", 500)


def _with_headers(send: Send) -> Send:
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending
