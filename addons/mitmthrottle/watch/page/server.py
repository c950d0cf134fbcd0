"""The listener on localhost: uvicorn in mitmproxy's own event loop.

Rule: whatever is wrong with it is one warning; the proxy goes on without the page.  And whoever
connects and does not ask, or asks and does not listen, keeps nobody else from it: there is a
deadline for both, and where there are too many connections, the newest are served and the oldest
of whoever has most of them go.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mitmthrottle.proxy.addresses import canonical
from mitmthrottle.proxy.listeners import Listeners, listeners

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
MOST_OF_AN_ADDRESS = 32
"""A browser has six for each of its pages."""
ASK_S = 5.0
"""How long a client may take to say what it wants."""
LISTEN_S = 30.0
"""And to take the answer."""
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
    """One that has deadlines, and gives way."""

    _deadline: asyncio.TimerHandle | None = None
    _serials = itertools.count()

    def connection_made(self, transport: Any) -> None:
        self.serial = next(self._serials)
        super().connection_made(transport)
        self._must_end_within(ASK_S)
        mine = [each for each in self._all() if each.address == self.address]
        if len(mine) > MOST_OF_AN_ADDRESS:
            self._give_way(mine)
        elif len(self.connections) > MOST_CONNECTIONS:
            self._give_way(self._all())

    @property
    def address(self) -> str:
        """The client's, in one spelling."""
        return str(canonical(self.client[0])) if self.client else ""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            if self._deadline is None:  # the next request on this connection
                self._must_end_within(ASK_S)
        elif not self.transport.is_closing():
            self._must_end_within(LISTEN_S)

    def on_response_complete(self) -> None:
        self._must_end_within(None)  # uvicorn itself waits for the next request, not for long
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._must_end_within(None)
        super().connection_lost(exc)

    def _must_end_within(self, time_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(time_s, self._end) if time_s is not None else None

    def _end(self) -> None:
        self.transport.abort()

    def _all(self) -> list[_Protocol]:
        return [each for each in self.connections if isinstance(each, _Protocol)]

    def _give_way(self, to_choose_from: list[_Protocol]) -> None:
        """End the oldest of those of the address that has most."""
        count = Counter(each.address for each in to_choose_from)
        found = [each for each in to_choose_from if each is not self]
        found.sort(key=lambda each: (-count[each.address], each.serial))
        found[0]._end()
        self.connections.discard(found[0])


class _Server(uvicorn.Server):
    """Signals are mitmproxy's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """Serves an ASGI app on an address until it is stopped."""

    def __init__(self, address: Address, app: Any, known: Listeners = listeners) -> None:
        """Raises OSError when the address cannot be had."""
        self._socket = _bound(address)
        self.address = Address(address.host, self._socket.getsockname()[1])
        self._listening = known.open("page", self.address.port)
        try:
            self._socket.listen(MOST_CONNECTIONS)
        except OSError:
            self._socket.close()
            self._listening.close()
            raise
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

    def close(self) -> None:
        """Give the address back, at once; who is connected is served until `stop`."""
        for server in getattr(self._server, "servers", ()):  # none before it has started
            server.close()
        self._socket.close()
        self._listening.close()

    async def stop(self) -> None:
        self._server.should_exit = True
        try:
            await asyncio.wait_for(self._task, STOP_S)
        except TimeoutError:  # wait_for has cancelled it
            logger.warning("mitmthrottle: the page's listener did not end in time")
        finally:
            self._socket.close()
            self._listening.close()

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
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
