"""A connection that mitmproxy has done with has no socket left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import options
from mitmproxy.proxy import commands, events, layer, server
from mitmproxy.proxy.mode_specs import ProxyMode

from mitmthrottle.proxy.connections import Connections


class Dials(layer.Layer):
    """Opens a connection to `context.server`, and takes what comes."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.OpenConnection(self.context.server)


class Pair:
    """A client and an origin on loopback, and mitmproxy's own handler between them."""

    def __init__(self) -> None:
        self.hooks: list[str] = []
        self.hold_in = ""  # the hook that does not return until the handler is cancelled
        self.connections = Connections(SimpleNamespace(connections={}))  # type: ignore[arg-type]
        self.ended = asyncio.Event()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = server.SimpleConnectionHandler(
            reader, writer, options.Options(), ProxyMode.parse("regular"), self._answers()
        )
        self.handler = handler
        self.connections._proxyserver.connections[handler.client.id] = handler
        handler.layer = Dials(handler.layer.context)
        handler.layer.context.server.address = self.origin_address
        # `handle_hook` of this class waits for nobody.
        real = handler.handle_hook

        async def handle_hook(hook: commands.StartHook) -> None:
            await real(hook)
            if hook.name == self.hold_in:
                await asyncio.Event().wait()

        handler.handle_hook = handle_hook  # type: ignore[method-assign]
        await handler.handle_client()
        self.ended.set()

    def _answers(self) -> dict[str, Callable[..., Any]]:
        def told(name: str) -> Callable[..., None]:
            def hook(data: Any) -> None:
                self.hooks.append(name)
                if name == "client_disconnected":
                    self.connections.close_all_left_open(data)
                if name == "server_disconnected":
                    self.connections.close_left_open(data.client, data.server)

            return hook

        names = ["client_connected", "client_disconnected", "server_connect", "server_connected"]
        return {name: told(name) for name in [*names, "server_disconnected"]}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def seen_closed(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(5):
            return await reader.read() is not None
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@asynccontextmanager
async def running(pair: Pair) -> AsyncIterator[tuple[Any, Any]]:
    """Yields the client's ends and the origin's."""
    at_origin: asyncio.Queue[Any] = asyncio.Queue()
    origin = await asyncio.start_server(lambda *ends: at_origin.put_nowait(ends), "127.0.0.1", 0)
    pair.origin_address = origin.sockets[0].getsockname()[:2]  # type: ignore[attr-defined]
    proxy = await asyncio.start_server(pair.accept, "127.0.0.1", 0)
    client = await asyncio.open_connection(*proxy.sockets[0].getsockname()[:2])
    try:
        yield client, await at_origin.get()
    finally:
        client[1].close()
        proxy.close()
        origin.close()


@pytest.mark.parametrize("leaves", ["client", "timeout"])
def test_cancelled_while_it_waits_to_pass_data_on(leaves: str) -> None:
    async def scenario() -> None:
        pair = Pair()
        async with running(pair) as (client, origin):
            await until(lambda: "server_connected" in pair.hooks)
            await pair.handler._server_event_lock.acquire()
            origin[1].write(b"from the origin")  # its reader waits for the lock now
            if leaves == "timeout":
                client[1].write(b"from the client")  # and so does the client's
            await until(lambda: len(pair.handler._server_event_lock._waiters or ()) >= 1)
            if leaves == "timeout":
                await until(lambda: len(pair.handler._server_event_lock._waiters or ()) == 2)
            pair.handler.transports[pair.handler.client].handler.cancel("gone")  # type: ignore[union-attr]
            await asyncio.sleep(0)
            if leaves == "client":
                await asyncio.sleep(0)
                pair.handler._server_event_lock.release()
            await asyncio.wait_for(pair.ended.wait(), 5)
            assert pair.handler.transports == {}
            assert await seen_closed(origin[0])
            assert await seen_closed(client[0])

    asyncio.run(scenario())


def test_cancelled_while_it_is_just_opened() -> None:
    async def scenario() -> None:
        pair = Pair()
        pair.hold_in = "server_connected"
        async with running(pair) as (_, origin):
            await until(lambda: "server_connected" in pair.hooks)
            pair.handler.transports[pair.handler.client].handler.cancel("gone")  # type: ignore[union-attr]
            await asyncio.wait_for(pair.ended.wait(), 5)
            await asyncio.sleep(0)  # callbacks of a task come a turn after it
            assert "server_disconnected" not in pair.hooks
            assert pair.handler.transports == {}
            assert await seen_closed(origin[0])

    asyncio.run(scenario())
