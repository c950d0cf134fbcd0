"""The live page is deaf to pages of other sites, to names made to point to it, and to headers that
lie.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from mitmthrottle.lab.origin import running_origin
from mitmthrottle.lab.proxy import RunningProxy

from .figures import Figures
from .seeing_hostile import ATTEMPTS, evil_site, got_something
from .seeing_lab import chromium, seen_proxy

pytestmark = pytest.mark.e2e

RULE = "photos / slow"
POLICY = f"""
version: 1
name: seen
rules:
  - name: {RULE}
    when: {{host: .photos.example, content: photo}}
    then: {{rate: 128 kbit/s}}
"""


@pytest.fixture(scope="module")
def evil(quiet: None) -> Iterator[int]:
    with evil_site() as port:
        yield port


@pytest.fixture(scope="module")
def seen(evil: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProxy, str]]:
    path = tmp_path_factory.mktemp("policy") / "seen.yaml"
    path.write_text(POLICY)
    resolve = {f"evil.example:{evil}": ("127.0.0.1", evil)}
    with (
        running_origin(["www.photos.example"]) as origin,
        seen_proxy(path, origin, resolve=resolve) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def playwright(quiet: None) -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    args = ["--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with chromium(playwright, args=args) as running:
        yield running


@pytest.fixture(scope="module")
def proxied(playwright: Playwright, seen: tuple[RunningProxy, str]) -> Iterator[Browser]:
    with chromium(playwright, proxy=seen[0].url) as running:
        yield running


def is_off(url: str) -> bool:
    return bool(httpx.get(f"{url}/api/state", trust_env=False).json()["rules"][0]["switched_off"])


@pytest.mark.parametrize("way", ["listener", "throttle.proxy"])
def test_a_page_of_another_site_can_do_nothing(
    way: str,
    seen: tuple[RunningProxy, str],
    evil: int,
    browser: Browser,
    proxied: Browser,
    figures: Figures,
) -> None:
    _, url = seen
    chosen, target = (browser, url) if way == "listener" else (proxied, "http://throttle.proxy")
    page = chosen.new_page()
    page.goto(f"http://evil.example:{evil}/")
    assert page.title() == "evil"
    results = page.evaluate(ATTEMPTS, [target, quote(RULE, safe="")])
    figures.add(f"attempts of a hostile page by {way}", len(results))
    assert len(results) > 12
    assert {name: result for name, result in results.items() if got_something(result)} == {}
    assert not is_off(url)
    page.close()
    for opened in chosen.contexts:
        opened.close()


def test_a_name_that_was_made_to_point_here_reads_nothing(
    seen: tuple[RunningProxy, str], browser: Browser
) -> None:
    """DNS rebinding: to the browser, attacker and page are one origin."""
    port = seen[1].rpartition(":")[2]
    page = browser.new_page()
    answer = page.goto(f"http://evil.example:{port}/")
    assert answer is not None
    assert answer.status == 421
    read = "async path => { const a = await fetch(path); return `${a.status} ${await a.text()}` }"
    for path in ("/api/state", "/api/policy", "/metrics", "/page.js"):
        assert page.evaluate(read, path).startswith("421 421: this address")
    page.close()


def test_a_host_header_that_lies(seen: tuple[RunningProxy, str]) -> None:
    proxy, url = seen
    port = int(url.rpartition(":")[2])

    def ask(request: str, to: int = port) -> str:
        with socket.create_connection(("127.0.0.1", to), timeout=5) as raw:
            raw.sendall(request.replace("\n", "\r\n").encode())
            return raw.recv(65536).decode("latin-1")

    good = f"Host: 127.0.0.1:{port}"
    lies = {
        "another name": "GET /api/state HTTP/1.1\nHost: evil.example\n\n",
        "two": f"GET /api/state HTTP/1.1\n{good}\nHost: evil.example\n\n",
        "none": "GET /api/state HTTP/1.0\n\n",
        "the proxy's name": "GET /api/state HTTP/1.1\nHost: throttle.proxy\n\n",
        "forwarded": f"GET /api/state HTTP/1.1\nHost: evil.example\nX-Forwarded-Host: {good}\n\n",
        "target": f"GET http://127.0.0.1:{port}/api/state HTTP/1.1\nHost: evil.example\n\n",
    }
    for name, request in lies.items():
        answer = ask(request)
        assert answer.split()[1] in ("400", "421"), name
        assert "photos" not in answer, name
    assert ask(f"GET /api/state HTTP/1.1\n{good}\n\n").split()[1] == "200"
    # Whoever may use the proxy may reach loopback through it, but not the page.
    answer = ask(f"GET http://127.0.0.1:{port}/api/state HTTP/1.1\n{good}\n\n", proxy.port)
    assert answer.split()[1] in ("403", "502")
    assert "photos" not in answer
