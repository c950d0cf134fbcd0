"""What the tests of the live page share: a proxy with its page, a client that is slowed, and
Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

from mitmthrottle.lab.origin import Origin
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"
)
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@contextmanager
def seen_proxy(
    policy: Path,
    origin: Origin,
    listen: str = "127.0.0.1:0",
    options: Sequence[str] = (),
    resolve: dict[str, tuple[str, int]] | None = None,
) -> Iterator[tuple[RunningProxy, str]]:
    """A proxy, and its page's URL without the last slash."""
    with running_proxy(
        policy,
        upstream_ca=origin.ca_path,
        resolve={**origin.resolve, **(resolve or {})},
        options=["--set", f"throttle_listen={listen}", *options],
    ) as proxy:
        yield proxy, page_of(proxy)
        assert "Traceback" not in proxy.log()


def page_of(proxy: RunningProxy) -> str:
    """Its page's URL without the last slash, as soon as there is one."""
    deadline = time.monotonic() + 10
    while not (found := re.search(r"live page at (http://\S+?)/?$", proxy.log(), re.M)):
        assert time.monotonic() < deadline, proxy.log()
        time.sleep(0.05)
    return found[1]


@contextmanager
def chromium(
    playwright: Playwright, proxy: str | None = None, args: Sequence[str] = ()
) -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        raise FileNotFoundError("Chromium is not installed; on Debian: apt-get install chromium")
    browser = playwright.chromium.launch(
        executable_path=binary,
        proxy={"server": proxy} if proxy else None,
        args=[*FLAGS, *args],
        chromium_sandbox=os.geteuid() != 0,  # it refuses to start as root otherwise
    )
    try:
        yield browser
    finally:
        browser.close()


class Errors:
    """What a page has complained of."""

    def __init__(self, page: Page) -> None:
        self.said: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)


class Watched:
    """A client that fetches a photo of 3 MB again and again, and notes when bytes came."""

    def __init__(self, proxy: RunningProxy, url: str) -> None:
        self._proxy = proxy
        self._url = url
        self._arrivals: list[tuple[float, int]] = []
        self._fault: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._fetch()
        except Exception as fault:  # to be told where the rate is asked for
            self._fault = fault

    def _fetch(self) -> None:
        with httpx.Client(proxy=self._proxy.url, verify=False, timeout=30) as client:
            while not self._over.is_set():
                with client.stream("GET", self._url, headers={"user-agent": IPHONE}) as answer:
                    for chunk in answer.iter_raw():
                        self._arrivals.append((time.monotonic(), len(chunk)))
                        if self._over.is_set():
                            return
                time.sleep(0.2)

    def rate_bytes_per_s(self, seconds: float) -> float:
        """Over the next so many seconds."""
        start = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        if self._fault is not None:
            raise self._fault
        came = sum(size for at, size in list(self._arrivals) if start < at <= end)
        return came / (end - start)
