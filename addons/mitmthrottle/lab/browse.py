"""A browser behind a throttle, for as long as its window is open: `mitmthrottle browse`.

Rule: nothing of the user's is touched and nothing stays behind. The browser has a profile of its
own and goes through a proxy of its own, loopback included, whose authority is made for this time
and trusted by this browser only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmthrottle.lab.chromium import FLAGS, find_chromium, trusting
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

LIVE_PAGE = "http://throttle.proxy/"
_CHILD = Path(__file__).with_name("browser_child.py")
_LOOK_EVERY_S = 0.2
_STOP_S = 8.0
_TAIL_LINES = 10


class BrowserFailed(RuntimeError):
    """The browser cannot be shown, or ended with an error; the message says why."""


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser that goes through a proxy."""

    process: subprocess.Popen[bytes]
    log_path: Path

    def failure(self) -> str:
        """What to say of one that has ended with an error; nothing while it runs, or if it was
        closed."""
        if self.process.poll() in (None, 0):
            return ""
        tail = self.log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        status = self.process.returncode
        return "\n".join([f"the browser ended with status {status}; its last lines:", *tail])


def browse(
    policy: Path | str,
    url: str,
    say: Callable[[str], None],
    *,
    chromium: Path | None = None,
    flags: Sequence[str] = (),
    options: Sequence[str] = (),
    upstream_ca: Path | None = None,
    resolve: Mapping[str, tuple[str, int]] | None = None,
) -> None:
    """Open a browser at `url` behind a proxy with this policy, until its window is closed.

    `flags` are the browser's own; the rest as `running_proxy` has it. Raises NoChromium,
    BrowserFailed, and what `running_proxy` raises.
    """
    program = find_chromium(chromium)
    headless = any(flag.startswith("--headless") for flag in flags)
    if sys.platform == "linux" and not headless and not _has_display():
        raise BrowserFailed(
            "there is no display to show a browser on (DISPLAY is not set): run this on a desktop, "
            "or with --browser-flag=--headless"
        )
    with (
        running_proxy(policy, options=options, upstream_ca=upstream_ca, resolve=resolve) as proxy,
        running_browser(program, proxy, url, flags) as browser,
    ):
        say(f"{program.name} goes through {proxy.url}, where {policy} holds; {LIVE_PAGE} in it")
        say("shows what is slowed. Close it, or press Ctrl-C here, and all of it is gone.")
        if _is_root():
            say("You are root, so the browser runs without its sandbox: open only what you trust.")
        while proxy.running and browser.process.poll() is None:
            time.sleep(_LOOK_EVERY_S)
        failure = browser.failure() if proxy.running else ""
    if failure:
        raise BrowserFailed(failure)


@contextlib.contextmanager
def running_browser(
    program: Path, proxy: RunningProxy, url: str, flags: Sequence[str] = ()
) -> Iterator[Browser]:
    """Chromium with an empty profile, behind this proxy, until the block or this process ends."""
    with tempfile.TemporaryDirectory(
        prefix="mitmthrottle-browser-", ignore_cleanup_errors=True
    ) as folder:
        log_path = Path(folder, "log")
        command = [
            str(program),
            f"--user-data-dir={folder}/profile",
            f"--proxy-server={proxy.url}",
            # Loopback too: the page may well be a developer's own.
            "--proxy-bypass-list=<-loopback>",
            trusting(proxy.ca_path),
            "--no-default-browser-check",
            "--password-store=basic",  # it asks for no keyring
            *FLAGS,
            *(["--no-sandbox"] if _is_root() else []),  # it refuses to start otherwise
            *flags,
            url,
        ]
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", str(_CHILD), folder, *command],
                stdin=subprocess.PIPE,  # its end says that we are gone
                stdout=log,
                stderr=subprocess.STDOUT,
                # It leaves a folder there for its socket (whose path may not be long: macOS's is).
                env={**os.environ, "TMPDIR": folder} if sys.platform == "linux" else None,
            )
        try:
            yield Browser(process, log_path)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()  # it ends the browser by and by, or kills it
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_root() -> bool:
    return os.geteuid() == 0


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
