"""The page's listener: where it listens, whom it serves, when it comes and goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import httpx
import pytest
from mitmproxy import exceptions
from mitmproxy.connection import Server
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.test import taddons, tflow

from mitmthrottle.watch.page import Page
from mitmthrottle.watch.server import Address, Listener

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
        with taddons.context(page) as tctx:
            tctx.configure(page, throttle_listen="127.0.0.1:0")

            async def script(url: str) -> None:
                port = int(url.rstrip("/").rpartition(":")[2])
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                ours = Server(address=("127.0.0.1", port))
                ours.peername = ("127.0.0.1", port)
                ours.sockname = writer.get_extra_info("sockname")
                data = ServerConnectionHookData(ours, tflow.tclient_conn())
                page.server_connected(data)
                writer.write(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                assert (await reader.readline()).startswith(b"HTTP/1.1 403")
                writer.close()
                page.server_disconnected(data)

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


def test_a_listener_holds_few_connections() -> None:
    async def run() -> None:
        async def app(scope: object, receive: object, send: object) -> None:
            raise AssertionError("nothing was asked")

        listener = Listener(Address("127.0.0.1", 0), app)
        opened = [
            await asyncio.open_connection("127.0.0.1", listener.address.port) for _ in range(80)
        ]
        await asyncio.sleep(0.2)
        closed = sum(1 for reader, _ in opened if reader.at_eof() or reader.exception())
        assert closed == 16
        for _, writer in opened:
            writer.close()
        await listener.stop()

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
