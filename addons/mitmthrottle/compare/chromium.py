"""Chromium, headless, in a profile of its own that lives as long as one visit.

Rule: a browser as it comes. The flags keep it from talking to its makers, send all of its
traffic through the proxy and make it trust the proxy's authority, it alone; nothing is
installed and nothing stays behind.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Error, Playwright

from mitmthrottle.compare.facts import CompareFailed, Device
from mitmthrottle.lab.chromium import FLAGS, trusting
from mitmthrottle.lab.proxy import RunningProxy

_FLAGS = (*FLAGS, "--disable-gpu", "--autoplay-policy=no-user-gesture-required")


@dataclass(frozen=True, slots=True)
class Profile:
    """How a device presents itself. Lengths in CSS pixels."""

    width: int
    height: int
    scale: float
    mobile: bool
    system: str
    """in the User-Agent, as Chrome gives it today: reduced, the same for all"""

    def user_agent(self, version: str) -> str:
        """`version` is the browser's, so that it does not claim to be another.

        >>> PROFILES["phone"].user_agent("140.0.1.2").split("(KHTML, like Gecko) ")[1]
        'Chrome/140.0.0.0 Mobile Safari/537.36'
        """
        mobile = "Mobile " if self.mobile else ""
        return (
            f"Mozilla/5.0 ({self.system}) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"Chrome/{version.split('.')[0]}.0.0.0 {mobile}Safari/537.36"
        )


PROFILES: dict[Device, Profile] = {
    "phone": Profile(412, 915, 2.625, True, "Linux; Android 10; K"),
    "desktop": Profile(1280, 800, 1.0, False, "X11; Linux x86_64"),
}


@contextlib.asynccontextmanager
async def running_chromium(
    playwright: Playwright, program: Path, proxy: RunningProxy
) -> AsyncIterator[Browser]:
    """A new browser with an empty profile. Raises CompareFailed if it does not start."""
    try:
        browser = await playwright.chromium.launch(
            executable_path=program,
            # Loopback too: the page may well be a developer's own.
            proxy={"server": proxy.url, "bypass": "<-loopback>"},
            args=[*_FLAGS, trusting(proxy.ca_path)],
            chromium_sandbox=os.geteuid() != 0,  # it refuses to start as root otherwise
            # We end it ourselves, in order; a signal must not do it before.
            handle_sigint=False,
            handle_sigterm=False,
            handle_sighup=False,
        )
    except Error as error:
        raise CompareFailed(f"{program} did not start: {first_line(error)}") from None
    try:
        yield browser
    finally:
        with contextlib.suppress(Error):
            await browser.close()


async def new_context(browser: Browser, device: Device) -> BrowserContext:
    profile = PROFILES[device]
    return await browser.new_context(
        viewport={"width": profile.width, "height": profile.height},
        screen={"width": profile.width, "height": profile.height},
        device_scale_factor=profile.scale,
        is_mobile=profile.mobile,
        has_touch=profile.mobile,
        user_agent=profile.user_agent(browser.version),
    )


def first_line(error: Exception) -> str:
    """Playwright's errors end in a log of what it did."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
