"""mitmdump in a process of its own: started, led to the origin, and ended without a trace."""

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from mitmthrottle.lab.client import Fetched, client, fetch
from mitmthrottle.lab.origin import Origin, running_origin
from mitmthrottle.lab.proxy import ProxyNotStarted, RunningProxy, running_proxy
from mitmthrottle.lab.site import media

HOSTS = ("twitter.com", "pbs.twimg.com")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with running_origin(HOSTS) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(origin: Origin) -> Iterator[RunningProxy]:
    with running_proxy(None, upstream_ca=origin.ca_path, resolve=origin.resolve) as running:
        yield running


def get(proxy: RunningProxy, url: str, *, address: str | None = None, h2: bool = True) -> Fetched:
    async def main() -> Fetched:
        async with client(proxy.url, proxy.ca_path, address=address, h2=h2) as session:
            return await fetch(session, url)

    return asyncio.run(main())


@pytest.mark.parametrize("h2", [True, False])
def test_real_names_lead_to_the_origin(origin: Origin, proxy: RunningProxy, h2: bool) -> None:
    fetched = get(proxy, "https://pbs.twimg.com/photo.jpg", h2=h2)
    assert (fetched.status, fetched.size) == (200, len(media("photo.jpg")))
    assert fetched.http_version == ("HTTP/2" if h2 else "HTTP/1.1")
    # The name survives: a rewritten address would have come with another Host.
    assert origin.requests[-1].host == "pbs.twimg.com"


def test_plain_http_has_its_own_port(origin: Origin, proxy: RunningProxy) -> None:
    fetched = get(proxy, "http://twitter.com/photo.jpg")
    assert fetched.size == len(media("photo.jpg"))
    assert origin.requests[-1].http_version == "1.1"


def test_the_proxy_sees_the_address_that_a_client_has_chosen(proxy: RunningProxy) -> None:
    get(proxy, "https://twitter.com/bytes/10?from=127.0.7.9", address="127.0.7.9")
    assert "127.0.7.9" in proxy.log()


def test_nothing_stays_behind(origin: Origin) -> None:
    with running_proxy(None) as running:
        folder = running.confdir.parent
        assert running.ca_path.exists()
        os.kill(running.pid, 0)  # it is there
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port))


def test_a_proxy_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(ProxyNotStarted, match=r"(?s)ended with status 1.*no-such-mode"),
        running_proxy(None, options=["--mode", "no-such-mode"]),
    ):
        pass


def test_a_route_that_is_none_is_refused() -> None:
    with (
        pytest.raises(ProxyNotStarted, match=r"HOST\[:PORT\]=ADDRESS:PORT"),
        running_proxy(None, options=["--set", "lab_resolve=nonsense"], resolve={"a": ("b", 1)}),
    ):
        pass
