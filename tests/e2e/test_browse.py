"""`mitmthrottle browse`, with the real Chromium, without its window."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.origin import Origin, running_origin

from .process import alive, family, wait_for

pytestmark = pytest.mark.e2e

HOSTS = ("twitter.com", "pbs.twimg.com")
BROWSE = "from mitmthrottle.cli import main; main()"
POLICY = """
version: 1
name: late-photos
rules:
  - name: photos
    when: {host: .twimg.com, content: photo}
    then: {rate: 512 kbit/s}
  - name: mine
    when: {host: localhost}
    then: {rate: 512 kbit/s}
"""


@pytest.fixture(scope="module")
def origin(quiet: None) -> Iterator[Origin]:
    with running_origin([*HOSTS, "localhost"]) as running:
        yield running


class Run:
    """The command, while it runs."""

    def __init__(self, origin: Origin, folder: Path, url: str, *more: str) -> None:
        self.folder = folder
        self.log = folder / "log.jsonl"
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        # Chromium has a socket in it, whose path may not be long.
        self.temporary = Path(tempfile.mkdtemp(prefix="b-", dir="/tmp"))
        self.said = folder / "said"
        with self.said.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", BROWSE, "browse", str(policy), url,
                 "--cacert", str(origin.ca_path), "--browser-flag=--headless",
                 *(f"--resolve={host}:443=127.0.0.1:{origin.port}" for host in HOSTS),
                 "--set", f"throttle_log={self.log}", *more],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self.temporary)},
            )  # fmt: skip

    def slowed(self) -> dict[str, str]:
        """host and path -> rule of what has come through the proxy."""
        if not self.log.exists():
            return {}
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return {f"{line['host']}{line['path']}": line["rule"] for line in lines}

    def wait_for(self, start: str) -> str:
        """The rule of a URL that begins so, once it has come."""

        def found() -> list[str]:
            return [rule for what, rule in self.slowed().items() if what.startswith(start)]

        wait_for(lambda: bool(found()) or self.process.poll() is not None, 30.0)
        assert found(), f"{self.slowed()}\n{self.said.read_text()}"
        return found()[0]

    def all_of_it_is_gone(self, were: set[int], within_s: float = 15.0) -> None:
        assert wait_for(lambda: not any(alive(pid) for pid in were), within_s) is not None, [
            family(pid) for pid in were if alive(pid)
        ]
        assert wait_for(lambda: not list(self.temporary.iterdir()), 5.0) is not None


@contextlib.contextmanager
def browsing(origin: Origin, folder: Path, url: str, *more: str) -> Iterator[Run]:
    run = Run(origin, folder, url, *more)
    try:
        yield run
    finally:
        for pid in family(run.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.process.wait()
        shutil.rmtree(run.temporary, ignore_errors=True)


def test_a_page_and_its_photos_come_through_the_proxy(origin: Origin, tmp_path: Path) -> None:
    with browsing(origin, tmp_path, "https://twitter.com/") as run:
        run.wait_for("pbs.twimg.com/photo")
        photos = [rule for url, rule in run.slowed().items() if url.startswith("pbs.twimg.com/p")]
        assert set(photos) == {"photos"}
        assert run.slowed()["twitter.com/"] is None
        assert "late-photos" in run.said.read_text() or "policy.yaml" in run.said.read_text()
        if os.geteuid() == 0:
            assert "without its sandbox" in run.said.read_text()


def test_localhost_goes_through_the_proxy_too(origin: Origin, tmp_path: Path) -> None:
    url = f"http://localhost:{origin.plain_port}/photo.jpg"
    with browsing(origin, tmp_path, url) as run:
        assert run.wait_for("localhost/photo.jpg") == "mine"


def test_the_live_page_is_what_it_opens(origin: Origin, tmp_path: Path) -> None:
    with browsing(origin, tmp_path, "http://throttle.proxy/") as run:

        def asked() -> bool:
            logs = run.temporary.glob("mitmthrottle-proxy-*/log")
            return any("throttle.proxy/api/state" in log.read_text() for log in logs)

        assert wait_for(asked, 30.0) is not None, run.said.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_of_it_ends_with_the_command(
    origin: Origin, tmp_path: Path, number: signal.Signals
) -> None:
    with browsing(origin, tmp_path, "https://twitter.com/") as run:
        run.wait_for("twitter.com/")
        were = set(family(run.process.pid))
        assert len(were) > 4  # the command, the proxy, and a browser with its own
        run.process.send_signal(number)
        status = run.process.wait(20)
        assert status == {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
        run.all_of_it_is_gone(were)


def test_it_ends_with_the_browser(origin: Origin, tmp_path: Path) -> None:
    with browsing(origin, tmp_path, "https://twitter.com/") as run:
        run.wait_for("twitter.com/")
        were = family(run.process.pid)
        (browser,) = [pid for pid, line in were.items() if is_browser(line)]
        os.kill(browser, signal.SIGTERM)  # as closing its window does
        assert run.process.wait(20) == 0, run.said.read_text()
        run.all_of_it_is_gone(set(were))


def test_the_browser_ends_with_the_proxy_and_the_command_says_so(
    origin: Origin, tmp_path: Path
) -> None:
    with browsing(origin, tmp_path, "https://twitter.com/") as run:
        run.wait_for("twitter.com/")
        were = family(run.process.pid)
        (proxy,) = [pid for pid, line in were.items() if "/lab/child.py" in line]
        os.kill(proxy, signal.SIGKILL)
        assert run.process.wait(20) == 1
        said = run.said.read_text()
        assert "Error: the proxy ended with signal 9; its last lines:" in said
        assert "Traceback" not in said
        run.all_of_it_is_gone(set(were))


def is_browser(line: str) -> bool:
    return (
        "--proxy-bypass-list=" in line and "browser_child.py" not in line and "--type=" not in line
    )


def test_a_browser_that_does_not_start(origin: Origin, tmp_path: Path) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho no libraries here\nexit 127\n")
    broken.chmod(0o755)
    with browsing(origin, tmp_path, "https://twitter.com/", "--chromium", str(broken)) as run:
        assert run.process.wait(30) == 1
        said = run.said.read_text()
        assert (
            "Error: the browser ended with status 127; its last lines:\nno libraries here" in said
        )


def test_an_option_that_cannot_be_taken(origin: Origin, tmp_path: Path) -> None:
    more = ("--set", "throttle_quic=blok")
    started = time.monotonic()
    with browsing(origin, tmp_path, "https://twitter.com/", *more) as run:
        assert run.process.wait(30) == 1
        assert "`blok` is none of its values" in run.said.read_text()
        assert "Traceback" not in run.said.read_text()
    assert time.monotonic() - started < 30
