"""The page's listener: where it listens, whom it serves, when it comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
from mitmproxy import exceptions
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Server
from mitmproxy.test import taddons

from mitmthrottle.proxy.listeners import Listeners
from mitmthrottle.watch.page import server
from mitmthrottle.watch.page.addon import Page
from mitmthrottle.watch.page.server import (
    MOST_CONNECTIONS,
    MOST_OF_AN_ADDRESS,
    Address,
    Listener,
)

from ..proxy.playbook import wire
from .test_page import POLICY, page_of


def listening(page: Page, script: Callable[[str], Awaitable[None]]) -> None:
    async def run() -> None:
        page.running()
        try:
            await script(page.url or "")
        finally:
            await page.done()

    asyncio.run(run())


def test_the_listener_comes_and_goes() -> None:
    with wire(POLICY) as connection:
        page = Page(connection.addon, lambda accept: (b"", "text/plain"))
        with taddons.context(page) as tctx:
            tctx.configure(page, throttle_listen="127.0.0.1:0")

            async def script(url: str) -> None:
                async with httpx.AsyncClient(trust_env=False) as http:
                    assert (await http.get(f"{url}healthz")).status_code == 200
                    other = {"host": "evil.example"}
                    assert (await http.get(url, headers=other)).status_code == 421
                    spoofed = {"x-forwarded-for": "198.18.0.7"}
                    state = (await http.get(f"{url}api/state", headers=spoofed)).json()
                    assert state["reader"]["address"] == "127.0.0.1"

            listening(page, script)
            assert page.url is None


def test_a_script_that_is_loaded_anew_has_the_same_address() -> None:
    # mitmproxy does not wait for the end of what it takes out
    with wire(POLICY) as connection:
        old, new = (Page(connection.addon, lambda accept: (b"", "text/plain")) for _ in range(2))
        with taddons.context(old) as tctx:
            tctx.configure(old, throttle_listen="127.0.0.1:0")

            async def is_there(url: str) -> bool:
                async with httpx.AsyncClient(trust_env=False) as http:
                    return (await http.get(f"{url}healthz")).status_code == 200

            async def script(url: str) -> None:
                assert await is_there(url)
                end = old.done()
                tctx.configure(old, throttle_listen=url.removeprefix("http://").rstrip("/"))
                new.configure({"throttle_listen"})
                new.running()
                try:
                    assert new.url == url
                    await end
                    assert await is_there(url)
                finally:
                    await new.done()

            listening(old, script)


def test_whoever_comes_by_way_of_the_proxy_is_refused() -> None:
    with wire(POLICY) as connection:
        page = Page(connection.addon, lambda accept: (b"", "text/plain"))
        proxyserver = Proxyserver()
        with taddons.context(page, proxyserver) as tctx:
            tctx.configure(page, throttle_listen="127.0.0.1:0")

            async def script(url: str) -> None:
                port = int(url.rstrip("/").rpartition(":")[2])
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                ours = Server(address=("127.0.0.1", port))
                sockname = writer.get_extra_info("sockname")
                ours.sockname = (f"::ffff:{sockname[0]}", sockname[1], 0, 0)  # as some dials have
                proxyserver.connections["one"] = Mock(transports={ours: None})
                writer.write(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                assert (await reader.readline()).startswith(b"HTTP/1.1 403")
                writer.close()

            listening(page, script)


def test_a_port_that_is_taken_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, wire(POLICY) as connection:
        page = Page(connection.addon, lambda accept: (b"", "text/plain"))
        port = taken.getsockname()[1]
        with taddons.context(page) as tctx:
            tctx.configure(page, throttle_listen=f"127.0.0.1:{port}")

            async def script(url: str) -> None:
                assert url == ""

            listening(page, script)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert f"no live page at 127.0.0.1:{port} (Address already in use)" in said[0]
    assert "set throttle_listen to another" in said[0]


async def plain(scope: object, receive: object, send: Callable[[object], Awaitable[None]]) -> None:
    """An app that answers."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})


async def ask(port: int, source: str) -> bytes:
    """What the listener answers; nothing where it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(2):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHos",
        b"P",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
    ],
)
@pytest.mark.parametrize("addresses", [1, 100])
def test_whoever_does_not_ask_keeps_nobody_else_from_asking(
    addresses: int, sent: bytes, tmp_path: Path
) -> None:
    async def run() -> None:
        listener = Listener(Address("127.0.0.1", 0), plain, Listeners(tmp_path))
        port = listener.address.port
        half_open = []
        for number in range(300):
            source = f"127.0.2.{1 + number % addresses}"
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(source, 0)
            )
            writer.write(sent)
            half_open.append((reader, writer))
            if number % 50 == 0:
                assert (await ask(port, "127.0.3.1")).endswith(b"well\r\n0\r\n\r\n")
        assert (await ask(port, "127.0.3.1")).endswith(b"well\r\n0\r\n\r\n")
        assert (await ask(port, "127.0.2.1")).endswith(b"well\r\n0\r\n\r\n")  # one of them, too
        await asyncio.sleep(0.1)
        left = [1 for each, _ in half_open if await is_open(each)]
        assert len(left) <= (MOST_OF_AN_ADDRESS if addresses == 1 else MOST_CONNECTIONS)
        for _, writer in half_open:
            writer.close()
        await listener.stop()

    asyncio.run(run())


async def is_open(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.02):
            await reader.read()
    except TimeoutError:
        return True
    except ConnectionError:
        pass
    return False


@pytest.mark.parametrize("second", [False, True])
def test_a_request_has_a_deadline(
    second: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ASK_S", 0.2)

    async def run() -> None:
        listener = Listener(Address("127.0.0.1", 0), plain, Listeners(tmp_path))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.address.port)
        if second:
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
                if reader.at_eof() or reader.exception():
                    break
        assert 0.15 < time.monotonic() - began < 0.6
        writer.close()
        await listener.stop()

    asyncio.run(run())


def test_whoever_does_not_take_the_answer_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LISTEN_S", 0.3)
    ended = asyncio.Event()

    async def endless(
        scope: object,
        receive: Callable[[], Awaitable[object]],
        send: Callable[[object], Awaitable[None]],
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        ended.set()

    async def run() -> None:
        listener = Listener(Address("127.0.0.1", 0), endless, Listeners(tmp_path))
        _, writer = await asyncio.open_connection("127.0.0.1", listener.address.port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(5):
            await ended.wait()  # what is sent to somebody who is gone is dropped
        writer.close()
        await listener.stop()

    asyncio.run(run())


def test_a_listener_is_listed_while_it_listens(tmp_path: Path) -> None:
    async def run() -> None:
        here, elsewhere = Listeners(tmp_path), Listeners(tmp_path)
        listener = Listener(Address("127.0.0.1", 0), plain, here)
        port = listener.address.port
        assert here.kinds(port) == elsewhere.kinds(port) == {"page"}
        listener.close()
        assert here.kinds(port) == elsewhere.kinds(port) == set()
        again = Listener(Address("127.0.0.1", port), plain, here)
        await listener.stop()  # the end of the old one is none of the new one
        assert elsewhere.kinds(port) == {"page"}
        await again.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("throttle_listen", "8089", "write `127.0.0.1:8089`"),
        ("throttle_listen", "127.0.0.1:99999", "write `127.0.0.1:8089`"),
        ("throttle_listen", "http://127.0.0.1:8089", "write `127.0.0.1:8089`"),
        ("throttle_page_hosts", ["http://a"], "write `lab.example`"),
        ("throttle_page_writers", ["all"], "write `192.168.1.0/24`"),
    ],
)
def test_a_wrong_option_is_refused_with_a_remedy(option: str, value: object, remedy: str) -> None:
    with pytest.raises(exceptions.OptionsError, match=remedy), page_of(**{option: value}):
        pass


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8089", "127.0.0.1", 8089), ("[::1]:0", "::1", 0), ("lab:1", "lab", 1)],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert str(Address.parse(text)) == text
