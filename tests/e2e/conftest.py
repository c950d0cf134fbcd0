"""What the end-to-end tests share: the figures, nginx with its files, a folder for screenshots."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.site import media

from .figures import Figures
from .nginx import Nginx, running_nginx
from .quiet import quiet_network

_FIGURES = pytest.StashKey[Figures]()

HOSTS = ("*.example.org", "*.example.net")

# A photo of 100 MB is a sparse file: what a body says does not matter to its rate.
PAGE = (b"<!doctype html><p>text " + b"and more text " * 1430)[:20_000]
SPARSE = {
    "20kb.jpg": 20_000,
    "2mb.jpg": 2_000_000,
    "50mb.jpg": 50_000_000,
    "100mb.jpg": 100_000_000,
}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = Figures()
    if config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.register(_Gathering())


class _Gathering:
    """With pytest-xdist: what each worker has measured comes to the one that prints."""

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        node.config.stash[_FIGURES].lines += getattr(node, "workeroutput", {}).get("figures", [])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["figures"] = session.config.stash[_FIGURES].lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = terminalreporter.config.stash[_FIGURES]
    if figures.lines:
        terminalreporter.section("figures")
        for line in figures.lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    return pytestconfig.stash[_FIGURES]


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: MITMTHROTTLE_ARTIFACTS, or a temporary folder."""
    chosen = os.environ.get("MITMTHROTTLE_ARTIFACTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx for all names of `HOSTS`, with photos, a video, a page and large files."""
    root = tmp_path_factory.mktemp("www")
    for name in ("photo-small.jpg", "photo.jpg", "photo-large.jpg", "video.mp4"):
        (root / name).write_bytes(media(name))
    for name, size in SPARSE.items():
        with (root / name).open("wb") as file:
            file.truncate(size)
    (root / "page.html").write_bytes(PAGE)
    (root / "4kb.jpg").write_bytes(media("photo.jpg")[:4096])
    (root / "8mb.bin").write_bytes(noise(0, 8_000_000))
    with running_nginx(root, HOSTS) as running:
        yield running


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """For who uses Chromium: what the module starts after this is in a network of its own."""
    with quiet_network():
        yield


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a policy's text to a file."""

    def write(text: str) -> Path:
        path = tmp_path_factory.mktemp("policy") / "policy.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return write
