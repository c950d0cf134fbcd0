"""Chromium, found on this machine, and told to trust one proxy.

Rule: a browser as it comes; nothing is installed, neither in the system nor in the user's profile.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")

FLAGS = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""They keep it from talking to its makers, and to anybody past the proxy."""

_PLAYWRIGHTS = {
    "linux": (".cache/ms-playwright", ("chrome-linux*/chrome",)),
    "darwin": (
        "Library/Caches/ms-playwright",
        ("chrome-mac*/Chromium.app/Contents/MacOS/Chromium", "chrome-mac*/*.app/Contents/MacOS/*"),
    ),
}


class NoChromium(RuntimeError):
    """There is none; the message says how to get one."""


def find_chromium(chosen: Path | None = None) -> Path:
    """The browser's program: `chosen`, or on the PATH, or Playwright's. Raises NoChromium."""
    if chosen is not None:
        if os.access(chosen, os.X_OK) and chosen.is_file():
            return chosen
        raise NoChromium(
            f"{chosen} is no program that can be run: --chromium wants the path of Chromium"
        )
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    if of_playwright := _of_playwright():
        return of_playwright
    raise NoChromium(
        "no Chromium on the PATH, and none of Playwright's: install it (on Debian: apt-get install "
        "chromium; anywhere: pip install playwright, then playwright install chromium), or say "
        "where it is with --chromium PATH"
    )


def _of_playwright() -> Path | None:
    """The newest that `playwright install chromium` has made."""
    folder, patterns = _PLAYWRIGHTS.get(sys.platform, ("", ()))
    root = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "") or Path.home() / folder)
    for pattern in patterns:
        programs = [p for p in root.glob(f"chromium-*/{pattern}") if os.access(p, os.X_OK)]
        if programs:
            return max(programs, key=lambda program: program.stat().st_mtime)
    return None


def key_hash(ca_path: Path) -> str:
    """The SHA-256 of the authority's public key, which mitmproxy uses for each of its
    certificates: what the browser is told to trust."""
    certificate = x509.load_pem_x509_certificate(ca_path.read_bytes())
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def trusting(ca_path: Path) -> str:
    """The flag that makes it trust this authority, it alone."""
    return f"--ignore-certificate-errors-spki-list={key_hash(ca_path)}"
