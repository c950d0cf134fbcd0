"""Each shipped policy and preset does what it promises, in a run through a real proxy: rates,
delays, quotas, stages, bans, shares, uploads, and what it leaves alone.

All are tried at once, a few proxies at a time; each test waits for its own.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mitmthrottle.policy import presets, shipped_policies

from .answer import COMPLETE
from .figures import Figures
from .language_asks import Ask, Seen
from .language_checks import (
    late,
    rate,
    upload_rate,
)
from .language_everyday import everyday
from .language_library import Library, running_library
from .language_policies import Promise, incidents

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

AT_ONCE = 3
PROMISES = [*incidents(), *everyday(datetime.datetime.now())]
PRESETS = presets()
FAST_BYTES_PER_S = 500_000


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    hosts = {ask.host for promise in PROMISES for ask in promise.asks} | {"*.example.org"}
    folder = tmp_path_factory.mktemp("library")
    with running_library(folder, sorted(hosts), AT_ONCE) as library:
        # The longest first.
        for promise in sorted(PROMISES, key=length, reverse=True):
            path = copied(promise, folder)
            library.start(promise.name, path, promise.asks, promise.uploads, promise.shares)
        cafe = next(path for path in shipped_policies() if path.stem == "flaky-cafe")
        library.start("a full café", cafe, cafe_asks(), ())
        start_presets(library, "presets", slow_asks())
        yield library


def length(promise: Promise) -> float:
    return max(ask.at_s + ask.for_s for ask in promise.asks)


def copied(promise: Promise, folder: Path) -> Path:
    """The policy's file with what is rewritten; each text must be there, once."""
    (path,) = (path for path in shipped_policies() if path.stem == promise.policy)
    text = path.read_text()
    for old, new in promise.rewritten:
        if text.split("rules:")[1].count(old) != 1:
            raise AssertionError(f"{path.name} has not one `{old}` in its rules")
        head, rules = text.split("rules:")
        text = f"{head}rules:{rules.replace(old, new)}"
    copy = folder / f"{promise.name.replace(', ', '-').replace(' ', '-')}.yaml"
    copy.write_text(text)
    return copy


def checked(*paths: Path) -> subprocess.CompletedProcess[str]:
    start = "from mitmthrottle.cli import main; main()"
    command = [sys.executable, "-c", start, "check", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# -- the policies


def test_each_policy_has_its_promise() -> None:
    assert {promise.policy for promise in PROMISES} == {path.stem for path in shipped_policies()}


def test_check_passes_all(tmp_path: Path) -> None:
    """As they are, and as they are tried here; it has something to say of the accidents only."""
    copies = [copied(promise, tmp_path) for promise in PROMISES if promise.rewritten]
    done = checked(*shipped_policies(), *copies)
    assert done.returncode == 0, done.stdout + done.stderr
    warned = {Path(line.split(":")[0]).stem for line in done.stderr.splitlines() if line}
    promised = {promise.policy for promise in PROMISES if promise.warned}
    assert warned & {path.stem for path in shipped_policies()} == promised


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_a_policy_keeps_its_promise(promise: Promise, library: Library, figures: Figures) -> None:
    told = library.outcome(promise.name)
    for what, said in told.figures:
        figures.add(f"{promise.name}, {what}:", said)
    assert not told.faults


# -- what only many responses tell


FULL_CAFE: list[Seen] = []


def cafe_asks() -> list[Ask]:
    """Two hundred photos of 70 kB: ten of each of twenty clients, who share no rate."""

    def keep(seen: Seen) -> str:
        FULL_CAFE.append(seen)
        return f"{len(seen.answers)} photos"

    return [
        Ask(f"client {n}", "v.example.org", "/70k.jpg", keep, h2=True, streams=10, every_s=0.3,
            at_s=1 + 0.1 * n, for_s=8.0)
        for n in range(20)
    ]  # fmt: skip


def test_in_a_full_cafe_a_few_break_off_and_the_others_wait(
    library: Library, figures: Figures
) -> None:
    assert not library.outcome("a full café").faults
    answers = [answer for seen in FULL_CAFE for answer in seen.answers]
    whole = [answer for answer in answers if answer.end == COMPLETE]
    broken = [answer for answer in answers if answer.end != COMPLETE]
    waits = sorted(answer.first_byte_s for answer in whole)
    median, high = waits[len(waits) // 2], waits[len(waits) * 9 // 10]
    figures.add("flaky-cafe, 200 photos: broken off", len(broken))
    figures.add("flaky-cafe, 200 photos: median wait (asked 120 ms)", 1e3 * median, "ms")
    figures.add("flaky-cafe, 200 photos: p90 of waits (asked 600 ms)", 1e3 * high, "ms")
    assert len(answers) == 200
    # 3 % of 200: six, give or take three standard deviations.
    assert 1 <= len(broken) <= 14
    assert {answer.size for answer in broken} == {48 * 1024}
    assert 0.09 < median < 0.32
    assert 0.35 < high < 0.95


# -- the presets


def presets_policy(folder: Path) -> Path:
    """A rule `like` each preset, for a host of its own."""
    rules = "".join(
        f"  - {{name: {name}, when: {{host: {host_of(name)}}}, then: {{like: {name}}}}}\n"
        f"  - {{name: {name} up, when: {{host: up-{host_of(name)}}}, then: {{like: {name}}}}}\n"
        for name in PRESETS
    )
    path = folder / "presets.yaml"
    path.write_text(f"version: 1\nname: presets\nrules:\n{rules}")
    return path


def start_presets(library: Library, name: str, asks: list[Ask]) -> None:
    uploads = [ask.host for ask in asks if ask.upload_bytes]
    library.start(name, presets_policy(library.folder), asks, uploads)


def host_of(name: str) -> str:
    return f"{name.replace('/', '-')}.example.org"


def slow_asks() -> list[Ask]:
    """Those that can be tried all at once: two and a half seconds of each."""
    asks = []
    for name, preset in PRESETS.items():
        if preset.down_bytes_per_s < FAST_BYTES_PER_S:
            asks.append(down(name, at_s=1.0 + 0.03 * len(asks), seconds=4.0))
        if preset.up_bytes_per_s < FAST_BYTES_PER_S:
            asks.append(up(name, at_s=1.0 + 0.03 * len(asks), seconds=3.0))
    return asks


def fast_asks() -> list[Ask]:
    """Those that would be in each other's way: a second and a half of each, one by one."""
    asks: list[Ask] = []
    for name, preset in PRESETS.items():
        if preset.down_bytes_per_s >= FAST_BYTES_PER_S:
            asks.append(down(name, at_s=1.0 + 1.8 * len(asks), seconds=1.5))
        if preset.up_bytes_per_s >= FAST_BYTES_PER_S:
            asks.append(up(name, at_s=1.0 + 1.8 * len(asks), seconds=1.2))
    return asks


def down(name: str, at_s: float, seconds: float) -> Ask:
    preset = PRESETS[name]
    check = late(preset.rtt_s, rate(preset.down_bytes_per_s / 125, settle_s=0.3))
    return Ask(f"{name}, down", host_of(name), "/20mb.bin", check, at_s=at_s,
               for_s=preset.rtt_s + seconds)  # fmt: skip


def up(name: str, at_s: float, seconds: float) -> Ask:
    preset = PRESETS[name]
    return Ask(f"{name}, up", f"up-{host_of(name)}", "", upload_rate(preset.up_bytes_per_s / 125),
               at_s=at_s, for_s=preset.rtt_s + seconds + 3,
               upload_bytes=int(preset.up_bytes_per_s * seconds))  # fmt: skip


@pytest.mark.parametrize("which", ["presets", "fast presets"])
def test_presets_are_the_links_that_they_name(
    which: str, library: Library, figures: Figures
) -> None:
    if which == "fast presets":  # they take a core: not beside the others
        library.wait()
        start_presets(library, which, fast_asks())
    told = library.outcome(which)
    for what, said in told.figures:
        figures.add(f"{what}:", said)
    assert not told.faults


def test_each_preset_is_tried() -> None:
    tried = {ask.what for ask in [*slow_asks(), *fast_asks()]}
    assert tried == {f"{name}, {way}" for name in PRESETS for way in ("down", "up")}
