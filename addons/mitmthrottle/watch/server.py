"""The listener on localhost: uvicorn in mitmproxy's own event loop.

Rule: whatever is wrong with it is one warning; the proxy goes on without the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
STOP_S = 2.0
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^\[\]:/\s]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0: any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`127.0.0.1:8089`, `[::1]:8089`. ValueError with a remedy for anything else."""
        found = _ADDRESS.fullmatch(text.strip())
        if not found or int(found["port"]) > 65535:
            raise ValueError(
                f"`{text}` is no address to listen on: write `127.0.0.1:8089`, or nothing to have "
                "no listener"
            )
        return cls(found["host"].strip("[]"), int(found["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Protocol(H11Protocol):
    """One that does not use up the proxy's file descriptors."""

    def connection_made(self, transport: Any) -> None:
        if len(self.connections) >= MOST_CONNECTIONS:
            transport.abort()
            self.transport = transport
            return
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.connections:
            super().connection_lost(exc)


class _Server(uvicorn.Server):
    """Signals are mitmproxy's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """Serves an ASGI app on an address until it is stopped."""

    def __init__(self, address: Address, app: Any) -> None:
        """Raises OSError when the address cannot be had."""
        self._socket = _bound(address)
        self.address = Address(address.host, self._socket.getsockname()[1])
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            # A header that names another client would make anybody a trusted one.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16 * 1024,
        )
        self._server = _Server(config)
        self._task = asyncio.get_running_loop().create_task(self._serve(), name="mitmthrottle page")

    @property
    def url(self) -> str:
        """As somebody on this machine would open it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address.host, self.address.host)
        return f"http://{Address(host, self.address.port)}/"

    async def stop(self) -> None:
        self._server.should_exit = True
        try:
            await asyncio.wait_for(self._task, STOP_S)
        except TimeoutError:  # wait_for has cancelled it
            logger.warning("mitmthrottle: the page's listener did not end in time")
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        try:
            await self._server.serve(sockets=[self._socket])
        except Exception:  # see the rule above
            logger.exception("mitmthrottle: the page's listener failed; the proxy goes on")


def _bound(address: Address) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        bound.listen(MOST_CONNECTIONS)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
