"""Debian's Chromium, headless, with or without a proxy setting, in a network namespace or not.

Rule: a browser as it comes; the flags only keep it from talking to its makers.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from playwright.sync_api import Browser, Page, sync_playwright

from mitmthrottle.lab.netns import inside

FLAGS = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@contextlib.contextmanager
def chromium(
    ca_path: Path,
    *,
    namespace: str | None = None,
    proxy: str | None = None,
    flags: Sequence[str] = (),
) -> Iterator[Browser]:
    """It trusts the proxy's authority; a browser that only ignores what it does not trust would
    reject each certificate first, as one that is pinned does."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        raise FileNotFoundError("Chromium is not installed; on Debian: apt-get install chromium")
    with contextlib.ExitStack() as stack:
        # Playwright's driver and the browser stay where they were started.
        with inside(namespace) if namespace else contextlib.nullcontext():
            playwright = stack.enter_context(sync_playwright())
            browser = playwright.chromium.launch(
                executable_path=binary,
                proxy={"server": proxy} if proxy else None,
                args=[*FLAGS, f"--ignore-certificate-errors-spki-list={_key(ca_path)}", *flags],
                chromium_sandbox=os.geteuid() != 0,  # it refuses to start as root otherwise
            )
            stack.callback(browser.close)
        yield browser


@contextlib.contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    """In a profile of its own, so that nothing comes from a cache."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    try:
        yield context.new_page()
    finally:
        context.close()


def _key(ca_path: Path) -> str:
    """The hash of the authority's public key, which mitmproxy uses for each of its certificates."""
    certificate = x509.load_pem_x509_certificate(ca_path.read_bytes())
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(key).digest()).decode()
