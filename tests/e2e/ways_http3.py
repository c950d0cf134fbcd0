"""A client for HTTP/3.

Rule: one request for each connection; as `ways_clients`, it returns what arrived.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aioquic.asyncio import connect as quic_connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent

from .ways_clients import Arrived, Sent
from .ways_dial import TIMEOUT_S

IDLE_S = 30.0  # with nothing coming for so long a browser gives up, too


class _Http3(QuicConnectionProtocol):
    """One request."""

    def __init__(self, quic: QuicConnection, *arguments: Any, **options: Any) -> None:
        super().__init__(quic, *arguments, **options)
        self.http = H3Connection(quic)
        self.arrived = Arrived()
        self.answer = b""  # how it begins
        self.finished = asyncio.Event()

    def ask(self, method: str, host: str, path: str, body: bytes) -> None:
        head = {":method": method, ":scheme": "https", ":authority": host, ":path": path}
        stream_id = self._quic.get_next_available_stream_id()
        self.http.send_headers(
            stream_id,
            [(name.encode(), value.encode()) for name, value in head.items()],
            end_stream=not body,
        )
        if body:
            self.http.send_data(stream_id, body, end_stream=True)
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        for each in self.http.handle_event(event):
            if isinstance(each, HeadersReceived):
                self.arrived.headers = {
                    name.decode(): value.decode() for name, value in each.headers
                }
            elif isinstance(each, DataReceived):
                self.arrived.add(each.data)
                self.answer += each.data[:1000]
                if each.stream_ended:
                    self.finished.set()


def http3_get(
    port: int,
    host: str,
    path: str,
    ca_path: Path,
    address: str = "127.0.0.1",
    idle_s: float = IDLE_S,
) -> Arrived:
    """HTTP/3 at that address, asking for that name.  Raises ConnectionError if there is none, or
    nothing comes for so long."""
    asked = _http3((address, port), ca_path, "GET", host, path, idle_s=idle_s)
    return asyncio.run(asked).arrived


def http3_put(port: int, host: str, body: bytes, ca_path: Path, address: str = "127.0.0.1") -> Sent:
    quic = asyncio.run(_http3((address, port), ca_path, "PUT", host, "/sink", body))
    return Sent.as_told(quic.answer)


async def _http3(
    at: tuple[str, int],
    ca_path: Path,
    method: str,
    host: str,
    path: str,
    body: bytes = b"",
    idle_s: float = IDLE_S,
) -> _Http3:
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=host)
    configuration.load_verify_locations(str(ca_path))
    configuration.idle_timeout = idle_s
    async with quic_connect(*at, configuration=configuration, create_protocol=_Http3) as quic:
        assert isinstance(quic, _Http3)
        quic.ask(method, host, path, body)
        await asyncio.wait_for(quic.finished.wait(), TIMEOUT_S)
        return quic
