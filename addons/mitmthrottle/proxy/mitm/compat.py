"""Which mitmproxy this works with.

Rule: whatever we use of mitmproxy beyond its documented addon API is named here, checked before
anything is replaced, and refused loudly when it is not as expected: a throttle that silently does
nothing is worse than a proxy that does not start.
"""

from __future__ import annotations

import inspect
import logging

import h2.connection
from mitmproxy import exceptions, version
from mitmproxy.addons import next_layer, savehar
from mitmproxy.proxy import commands, events, mode_servers, server, tunnel
from mitmproxy.proxy.layers import http, tcp, tls, websocket
from mitmproxy.proxy.layers.http import _http2, _http_h2

logger = logging.getLogger(__name__)

OLDEST = (12, 2)
NEWEST = (12, 3)

# Where we reach in, and the parameters that we count on there.
EXPECTED: dict[str, tuple[object, tuple[str, ...]]] = {
    "HttpLayer.make_stream": (http.HttpLayer.make_stream, ("self", "stream_id")),
    "HttpLayer.event_to_child": (http.HttpLayer.event_to_child, ("self", "child", "event")),
    "HttpStream._handle_event": (http.HttpStream._handle_event, ("self", "event")),
    "HttpStream.state_wait_for_response_headers": (
        http.HttpStream.state_wait_for_response_headers,
        ("self", "event"),
    ),
    "HttpStream.start_response_stream": (http.HttpStream.start_response_stream, ("self",)),
    "HttpStream.state_stream_response_body": (
        http.HttpStream.state_stream_response_body,
        ("self", "event"),
    ),
    "HttpStream.state_consume_response_body": (
        http.HttpStream.state_consume_response_body,
        ("self", "event"),
    ),
    "HttpStream.handle_protocol_error": (
        http.HttpStream.handle_protocol_error,
        ("self", "event"),
    ),
    "HttpStream.send_response": (http.HttpStream.send_response, ("self", "already_streamed")),
    "SaveHar.flow_entry": (savehar.SaveHar.flow_entry, ("self", "flow", "servers_seen")),
    "Http2Client._handle_event": (_http2.Http2Client._handle_event, ("self", "event")),
    "Http2Client.handle_h2_event": (_http2.Http2Client.handle_h2_event, ("self", "event")),
    "Http2Connection.close_connection": (
        _http2.Http2Connection.close_connection,
        ("self", "msg"),
    ),
    "H2Connection.increment_flow_control_window": (
        h2.connection.H2Connection.increment_flow_control_window,
        ("self", "increment", "stream_id"),
    ),
    "H2Connection.update_settings": (
        h2.connection.H2Connection.update_settings,
        ("self", "new_settings"),
    ),
    "AsyncioServerInstance.listen": (
        mode_servers.AsyncioServerInstance.listen,
        ("self", "host", "port"),
    ),
    "ConnectionHandler.server_event": (server.ConnectionHandler.server_event, ("self", "event")),
    "ConnectionHandler.handle_connection": (
        server.ConnectionHandler.handle_connection,
        ("self", "connection"),
    ),
    "Wakeup": (events.Wakeup.__init__, ("self", "command")),
    "RequestWakeup": (commands.RequestWakeup.__init__, ("self", "delay")),
    "TunnelLayer": (
        tunnel.TunnelLayer.__init__,
        ("self", "context", "tunnel_connection", "conn"),
    ),
    "TCPLayer.relay_messages": (tcp.TCPLayer.relay_messages, ("self", "event")),
    "WebsocketLayer.relay_messages": (
        websocket.WebsocketLayer.relay_messages,
        ("self", "event"),
    ),
    "_starts_like_quic": (next_layer._starts_like_quic, ("data_client", "server_address")),
    "BufferedH2Connection.send_data": (
        _http_h2.BufferedH2Connection.send_data,
        ("self", "stream_id", "data", "end_stream", "pad_length"),
    ),
}
# Names that the functions above must still use, or replacing them would do nothing.
USED_IN_SOURCE = (
    (http.HttpLayer.make_stream, "HttpStream("),
    (http.HttpClient._handle_event, "Http2Client("),
    (http.HttpLayer._handle_event, "Http2Server("),
    (http.HttpStream.flow_done, "websocket.WebsocketLayer("),
    (tls.ClientTLSLayer.receive_handshake_data, "tcp.TCPLayer("),
    (next_layer.NextLayer._next_layer, "layers.TCPLayer("),
    (http.HttpLayer._handle_event, "self.command_sources.pop(event.command)"),
    (_http2.Http2Connection.handle_h2_event, "acknowledge_received_data"),
    (_http2.Http2Connection.handle_h2_event, "state is StreamState.HEADERS_RECEIVED"),
    (_http2.Http2Connection.handle_h2_event, "yield from self.close_connection("),
    (_http2.Http2Connection.protocol_error, "yield from self.close_connection("),
    (_http2.Http2Connection._handle_event, "yield from self.close_connection("),
    (server.ConnectionHandler.handle_connection, "reader = self.transports[connection].reader"),
    (server.ConnectionHandler.handle_connection, "await reader.read("),
    (server.ConnectionHandler.handle_connection, "except asyncio.CancelledError as e:"),
    (server.ConnectionHandler.handle_client, "await self.handle_hook(server_hooks.ClientConn"),
    (server.ConnectionHandler.handle_client, "if self.client.error:"),
    (mode_servers.AsyncioServerInstance._start, "self._servers = await self.listen(host, port)"),
    (mode_servers.AsyncioServerInstance.listen, "asyncio.start_server(self.handle_stream, host"),
    (savehar.SaveHar.make_har, "self.flow_entry("),
    (server.ConnectionHandler.__init__, "self.max_conns = collections.defaultdict("),
    (server.ConnectionHandler.open_connection, "self.max_conns[command.connection.address]"),
)


def differences() -> list[str]:
    """What in this mitmproxy is not as we know it; empty when all is well."""
    found = []
    release = tuple(int(part) for part in version.VERSION.split(".")[:2])
    if not OLDEST <= release <= NEWEST:
        found.append(
            f"this is mitmproxy {version.VERSION}; mitmthrottle is made for "
            f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        )
    for name, (function, parameters) in EXPECTED.items():
        if not callable(function):
            found.append(f"{name} is not a function")
            continue
        actual = tuple(inspect.signature(function).parameters)
        if actual != parameters:
            found.append(f"{name} takes {actual}, expected {parameters}")
    for function, text in USED_IN_SOURCE:
        if text not in inspect.getsource(function):
            found.append(f"{function.__qualname__} no longer contains `{text}`")
    return found


def require_known_mitmproxy() -> None:
    """Raise OptionsError if anything differs, and say so in the log, which stops mitmproxy: what
    a script's `load` raises is dropped without a word."""
    if found := differences():
        message = (
            "mitmthrottle cannot pace with this mitmproxy: "
            + "; ".join(found)
            + ". Install one it is made for: pip install 'mitmproxy>=12.2.1,<12.4'"
        )
        logger.error(message)
        raise exceptions.OptionsError(message)
