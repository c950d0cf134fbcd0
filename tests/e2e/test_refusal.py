"""A mitmproxy that is not known, an option that cannot be taken: nothing starts, rather than
something that slows nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import SCRIPT_PATH, START

pytestmark = pytest.mark.e2e

OTHER = "from mitmproxy import version; version.VERSION = '99.0.0'; "
WORKER = "from mitmthrottle.fleet.start import main; main()"


@pytest.mark.parametrize(
    ("start", "before"), [(START, []), (WORKER, ["1", "0", "shared", "1"])], ids=["one", "worker"]
)
def test_it_does_not_start(tmp_path: Path, start: str, before: list[str]) -> None:
    options = [f"confdir={tmp_path}", "throttle_policy=twitter-2021", "throttle_listen="]
    ended = subprocess.run(
        [sys.executable, "-c", OTHER + start, *before, "-s", str(SCRIPT_PATH), "-p", "0",
         *(part for option in options for part in ("--set", option))],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert "mitmthrottle cannot pace with this mitmproxy: this is mitmproxy 99.0.0" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("throttle_policy=netflix-sd", "Received multiple values for throttle_policy"),
        ("throttle_server_timing=maybe", "Failed to parse option throttle_server_timing"),
    ],
)
def test_an_option_that_cannot_be_taken(tmp_path: Path, setting: str, said: str) -> None:
    options = [f"confdir={tmp_path}", "throttle_policy=twitter-2021", "throttle_listen=", setting]
    ended = subprocess.run(
        [sys.executable, "-c", START, "-s", str(SCRIPT_PATH), "-p", "0",
         *(part for option in options for part in ("--set", option))],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert f"mitmthrottle: {said}" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
