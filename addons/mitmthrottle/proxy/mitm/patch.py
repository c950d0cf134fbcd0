"""Put our layers into mitmproxy, and take them out again.

Rule: the only place that replaces anything of mitmproxy's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mitmproxy.addons import next_layer
from mitmproxy.addons.savehar import SaveHar
from mitmproxy.connection import Address
from mitmproxy.proxy import layers, mode_servers, server
from mitmproxy.proxy.layers import http, tcp, websocket

from mitmthrottle.proxy.observe.har import with_record

from .carrier import Throttling
from .flow_control import PacedHttp2Client, PacedHttp2Server
from .http_stream import PacedStream
from .relay import PacedTCPLayer
from .websocket import PacedWebsocketLayer

# mitmproxy lets a client have 5 connections to an address and holds each as long as it lives: with
# an HTTP/2 client and an HTTP/1 origin, five slow photos make the page wait for its turn.
DEFAULT_CONNECTIONS = 5
PACED_CONNECTIONS = 500


class Patch:
    """While installed, new connections get our layers."""

    def __init__(self, engine: Throttling) -> None:
        relay = type("PacedTCPLayer", (PacedTCPLayer,), {"engine": engine})
        # mitmproxy looks these up as globals of its modules, see compat.py.
        self._ours: list[tuple[ModuleType, str, type]] = [
            (http, "HttpStream", type("PacedStream", (PacedStream,), {"engine": engine})),
            (
                http,
                "Http2Client",
                type(
                    "PacedHttp2Client",
                    (PacedHttp2Client,),
                    {
                        "might_match_any": staticmethod(engine.might_match_any),
                        "throttles": staticmethod(lambda: not engine.stopped),
                    },
                ),
            ),
            (
                http,
                "Http2Server",
                type(
                    "PacedHttp2Server",
                    (PacedHttp2Server,),
                    {
                        "paces_uploads": staticmethod(engine.paces_uploads),
                        "began": staticmethod(engine.http2_clients.add),
                        "throttles": staticmethod(lambda: not engine.stopped),
                    },
                ),
            ),
            (
                websocket,
                "WebsocketLayer",
                type("PacedWebsocketLayer", (PacedWebsocketLayer,), {"engine": engine}),
            ),
            (tcp, "TCPLayer", relay),
            (layers, "TCPLayer", relay),
            (next_layer, "TCPLayer", relay),
        ]
        self._originals = [(module, name, getattr(module, name)) for module, name, _ in self._ours]

    def install(self) -> None:
        for module, name, ours in self._ours:
            setattr(module, name, ours)

    def remove(self) -> None:
        for module, name, original in self._originals:
            setattr(module, name, original)


def annotate_har() -> None:
    """For good: mitmproxy writes its HAR file after everything else has ended."""
    if SaveHar.flow_entry.__module__ != with_record.__module__:  # not yet
        SaveHar.flow_entry = with_record(SaveHar.flow_entry)  # type: ignore[method-assign, assignment]  # it is a method


class ConnectionSlots(defaultdict[Address, asyncio.Semaphore]):
    """How many connections a client may have to an address: many where responses may be slow."""

    def __init__(self, engine: Throttling) -> None:
        super().__init__()
        self._engine = engine

    def __missing__(self, address: Address) -> asyncio.Semaphore:
        slow = self._engine.might_match_any({address[0]})
        slots = asyncio.Semaphore(PACED_CONNECTIONS if slow else DEFAULT_CONNECTIONS)
        self[address] = slots
        return slots


def widen(handler: server.ConnectionHandler, engine: Throttling) -> None:
    """Lift the limit of five for paced hosts.  To be called in `client_connected`."""
    handler.max_conns = ConnectionSlots(engine)


def replace_listen(listen: Callable[..., Any]) -> None:
    """How TCP and UDP servers come to listen; before mitmproxy starts, and for good."""
    # mypy is right that a method is replaced: that is what this module is for.
    mode_servers.AsyncioServerInstance.listen = listen  # type: ignore[method-assign]
