"""`mitmthrottle compare` on the lab's page: photos late by what their rate dictates, text not, a
video that stands still, and a report that says so and can be read by everybody.

The command runs as a user would run it, in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from mitmthrottle.lab.origin import Origin, running_origin
from mitmthrottle.lab.site import media

from .figures import Figures
from .process import command_of, family

pytestmark = pytest.mark.e2e

COMPARE = (sys.executable, "-c", "from mitmthrottle.cli import main; main()", "compare")
RATE = 16_000
PHOTOS, VIDEOS = "photos on every phone", "videos hang on every phone"
# As in March 2021, but that the video begins soon and then hangs, so as to stand still.
POLICY = f"""\
version: 1
name: late-photos
hosts:
  twitter: [.twitter.com, .twimg.com]
clients:
  phones: {{device: mobile}}
rules:
  - name: {PHOTOS}
    when: {{host: twitter, client: phones, content: photo}}
    then: {{rate: 128 kbit/s}}
  - name: {VIDEOS}
    when: {{host: twitter, client: phones, content: video}}
    then: {{rate: 800 kbit/s, stall: {{after: 80 KB, for: 5 s}}}}
"""
HOSTS = ("twitter.com", "pbs.twimg.com", "video.twimg.com")


@dataclass(frozen=True, slots=True)
class Compared:
    said: str
    report: Path
    figures: dict[str, Any]
    runs: dict[str, list[dict[str, Any]]]
    duration_s: float


def arguments(
    origin: Origin, policy: Path, page: str = "https://twitter.com/watch.html"
) -> list[str]:
    return [
        *COMPARE, page, "--policy", str(policy), "--cacert", str(origin.ca_path),
        "--resolve", f"*=127.0.0.1:{origin.port}", "--device", "phone",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def origin(quiet: None) -> Iterator[Origin]:
    with running_origin(HOSTS) as running:
        yield running


@pytest.fixture(scope="module")
def policy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "late-photos.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def compared(
    origin: Origin, policy_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Compared:
    folder = tmp_path_factory.mktemp("compare")
    report = folder / "report.html"
    began = time.monotonic()
    done = subprocess.run(
        [*arguments(origin, policy_path), "--runs", "2", "--output", report, "--json"],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    duration_s = time.monotonic() - began
    return Compared(done.stderr, report, found["figures"], found["runs"], duration_s)


def difference(compared: Compared, key: str) -> float:
    figure = compared.figures[key]
    return float(figure["with"]["median"] - figure["without"]["median"])


def named(run: dict[str, Any]) -> dict[str, str | None]:
    return {
        request["url"].partition("//")[2].partition("?")[0]: (
            request["slowed"]["rule"] if request["slowed"] else None
        )
        for request in run["request_list"]
    }


def test_photos_are_late_by_what_their_rate_dictates_and_text_is_not(
    compared: Compared, figures: Figures
) -> None:
    expected_s = len(media("photo.jpg")) / RATE
    late_s = difference(compared, "largest_contentful_paint_s")
    figures.add("compare, largest paint of a 58 kB photo at 128 kbit/s: later by", late_s, "s")
    figures.add("compare, the same by its rate", expected_s, "s")
    figures.add(
        "compare, first paint: later by", difference(compared, "first_contentful_paint_s"), "s"
    )
    figures.add("compare, two runs each took", compared.duration_s, "s")
    assert all(run["largest"].endswith("/photo.jpg") for run in compared.runs["with"])
    assert late_s == pytest.approx(expected_s, abs=0.5)
    assert abs(difference(compared, "first_contentful_paint_s")) < 0.5
    assert compared.figures["load_s"]["clear"] is True
    assert all(run["protocol"] == "HTTP/2.0" for runs in compared.runs.values() for run in runs)


def test_the_video_stands_still_only_with_the_policy(compared: Compared, figures: Figures) -> None:
    for run in compared.runs["without"]:
        (video,) = run["videos"]
        assert run["stalled_s"] < 0.5  # a busy machine may make it blink
        assert video["started_s"] < 4
    for run in compared.runs["with"]:
        (video,) = run["videos"]
        figures.add("compare, video: plays after", video["started_s"], "s")
        figures.add("compare, video: stood still for", run["stalled_s"], "s")
        assert video["name"] == "video.mp4 from video.twimg.com"
        assert any(stall["length_s"] > 0.5 for stall in video["stalls"])
        # 80 kB hold a third of its ten seconds; they take 0.8 s, then nothing comes for 5 s.
        assert 0.5 < run["stalled_s"] < 5
        assert run["settled"]
    assert difference(compared, "video_start_s") > 0


def test_slowed_requests_are_named_by_the_proxy_and_no_others(compared: Compared) -> None:
    for run in compared.runs["with"]:
        assert named(run) == {
            "twitter.com/watch.html": None,
            "twitter.com/style.css": None,
            "pbs.twimg.com/photo.jpg": PHOTOS,
            "video.twimg.com/video.mp4": VIDEOS,
        }
        for request in run["request_list"]:
            if request["slowed"] and request["slowed"]["rule"] == PHOTOS:
                assert request["slowed"]["asked_bytes_per_s"] == RATE
                assert request["slowed"]["measured_bytes_per_s"] == pytest.approx(RATE, rel=0.2)
    for run in compared.runs["without"]:
        assert set(named(run).values()) == {None}
    # Every byte arrives, with and without.
    for runs in compared.runs.values():
        for run in runs:
            assert run["bytes"] == compared.figures["bytes"]["without"]["median"]
            assert run["console"] == []


def test_the_terminal_says_what_was_found(compared: Compared) -> None:
    assert "run 1 of 2, with the policy: largest paint" in compared.said
    assert "The policy slows 2 of 4 requests." in compared.said
    assert "Videos stand still " in compared.said
    assert f"report: {compared.report}" in compared.said
    assert "\x1b" not in compared.said  # no colours in a pipe


# -- the report


@pytest.fixture(scope="module")
def browser(quiet: None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=["--disable-gpu"],
            chromium_sandbox=os.geteuid() != 0,
        )
        yield browser
        browser.close()


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("desktop", 1280, "light"), ("dark", 1280, "dark"), ("phone", 412, "light")],
)
def test_the_report_can_be_read_by_everybody_and_asks_nobody(
    browser: Browser, compared: Compared, artifacts: Path, figures: Figures,
    name: str, width: int, scheme: Any,
) -> None:  # fmt: skip
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=width < 500
    )
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(compared.report.as_uri())
    page.screenshot(path=artifacts / f"compare-{name}.png", full_page=True)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [compared.report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    faults = serious(page)
    figures.add(f"compare, report, {name}: serious faults by axe-core", len(faults))
    assert faults == []
    context.close()


def serious(page: Page) -> list[str]:
    violations = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html']}"
        for fault in violations
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def test_the_report_shows_what_was_measured_also_without_scripts(
    browser: Browser, compared: Compared, figures: Figures
) -> None:
    figures.add("compare, report: size", compared.report.stat().st_size / 1000, "kB")
    assert compared.report.stat().st_size < 2_000_000
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(compared.report.as_uri())
    assert page.locator("li.slowed").count() == 2
    assert PHOTOS in page.locator("li.slowed", has_text="photo.jpg").inner_text()
    assert VIDEOS in page.locator("li.slowed", has_text="video.mp4").inner_text()
    for variant in ("Without the policy", "With the policy"):
        pictures = page.get_by_role("img", name=variant)
        assert pictures.count() >= 2
    assert page.locator(".lane .stalls").count() >= 1
    context.close()


# -- errors and ends


def test_a_page_that_does_not_open_is_said_with_a_remedy(
    origin: Origin, policy_path: Path, tmp_path: Path
) -> None:
    cases = {
        "status": ("https://twitter.com/status/404", "answers with status 404"),
        "closed": (
            "https://closed.example/",
            "cannot reach https://closed.example/: [Errno 111] Connect call failed",
        ),
    }
    for name, (page, expected) in cases.items():
        command = arguments(origin, policy_path, page)
        command += ["--resolve", "closed.example=127.0.0.1:9"]
        command += ["--output", str(tmp_path / f"{name}.html")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done.stdout
        assert expected in done.stderr
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / f"{name}.html").exists()


def test_an_authority_that_is_not_trusted_is_said_with_the_option_that_helps(
    origin: Origin, policy_path: Path, tmp_path: Path
) -> None:
    command = arguments(origin, policy_path)
    at = command.index("--cacert")
    del command[at : at + 2]
    command += ["--output", str(tmp_path / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "--cacert FILE, or --insecure" in done.stderr


PROXY = "lab/child.py"  # mitmdump, which ends with whoever started it


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Chromium makes a socket in TMPDIR, and the path of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="cmp-") as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("number", "status", "when"),
    [
        (signal.SIGINT, 130, "--type=renderer"),
        (signal.SIGTERM, 143, "--type=renderer"),
        (signal.SIGINT, 130, PROXY),  # which may then end before it listens
    ],
    ids=["SIGINT", "SIGTERM", "SIGINT at the start"],
)
def test_a_signal_ends_everything_that_was_started(
    origin: Origin, policy_path: Path, short_path: Path, number: int, status: int, when: str
) -> None:
    # Whoever starts the tests in the background has them ignore Ctrl-C, and what they start too.
    command = ["env", "--default-signal=INT", *arguments(origin, policy_path)]
    command += ["--output", str(short_path / "report.html")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env={**os.environ, "TMPDIR": str(short_path)},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not any(when in name for name in family(process.pid).values()):
            assert time.monotonic() < deadline, f"{when} has not come"
            time.sleep(0.1)
        started = family(process.pid)
        assert any(PROXY in name for name in started.values())
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == status, said
    assert "Traceback" not in said
    deadline = time.monotonic() + 5
    while left := [name for pid, name in started.items() if command_of(pid) == name]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert list(short_path.iterdir()) == []
