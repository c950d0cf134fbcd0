"""The policy changes while responses are under way: by its file, as editors and operators replace
files, whole or broken, and ten times a second for a minute.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import language_shape as shape
from .answer import COMPLETE, Answer
from .figures import Figures
from .http1 import http1
from .http2 import Http2, http2
from .language_crowd import Crowd
from .nginx import Nginx, running_nginx
from .process import wait_for

pytestmark = pytest.mark.e2e

NAMES = ("*.example.org",)
HOST = "photos.example.org"
SIZE = 400_000
TOLERANCE = 0.05


def policy_text(rate: str, rule: str = "photos", more: str = "") -> str:
    return (
        f"version: 1\nname: live\nrules:\n"
        f"  - name: {rule}\n    when: {{host: {HOST}, content: photo}}\n"
        f"    then: {{rate: {rate}}}\n{more}"
    )


@dataclass(frozen=True)
class Live:
    """A proxy that watches `path`."""

    proxy: RunningProxy
    path: Path
    probed: Path

    def write(self, text: str) -> float:
        """Write it in place; when that was."""
        self.path.write_text(text)
        return time.perf_counter()

    def counts(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in self.probed.read_text().splitlines()]

    def rate(self, for_s: float = 1.2) -> float:
        """What a new response gets, in bytes/s."""
        client = http1(self.proxy, HOST, secure=False, keep=False)
        answer = client.get("/8mb.jpg", until=time.perf_counter() + for_s)
        client.close()
        return shape.rate_between(answer.arrivals, answer.sent_at + 0.2, answer.sent_at + for_s)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("reload")
    (root / "400k.jpg").write_bytes(noise(0, SIZE))
    (root / "8mb.jpg").write_bytes(noise(0, 8_000_000))
    (root / "page.html").write_bytes(b"<p>text")
    with running_nginx(root, NAMES, trustme.CA()) as nginx:
        yield nginx


@pytest.fixture
def live(origin: Nginx, tmp_path: Path) -> Iterator[Live]:
    path, probed = tmp_path / "policy.yaml", tmp_path / "probed"
    path.write_text(policy_text("64 kbit/s"))
    script = Path(__file__).with_name("language_probe.py")
    options = ("-s", str(script), "--set", f"probe={probed}", "--set", "flow_detail=0")
    with running_proxy(
        path, upstream_ca=origin.ca_path, resolve=origin.resolve, options=options
    ) as proxy:
        yield Live(proxy, path, probed)
        assert "Traceback" not in proxy.log()


def near(value: float, expected: float, tolerance: float = TOLERANCE) -> bool:
    return value == pytest.approx(expected, rel=tolerance)


# -- under way


@pytest.mark.timeout(180)
def test_200_responses_live_through_reloads(live: Live, figures: Figures) -> None:
    """100 over HTTP/1 and 100 streams on five HTTP/2 connections: 64 kbit/s, after 3 s 256, after 6
    the rule is gone and all run free; every byte arrives."""
    crowd = Crowd()
    clients = [http2(live.proxy, HOST) for _ in range(5)]
    answers: list[Answer] = []
    for client in clients:
        answers += [client.send("GET", "/400k.jpg") for _ in range(20)]
    for number in range(100):
        crowd.start(live.proxy, HOST, "/400k.jpg", source=f"127.0.12.{number % 9 + 1}")
    begun = time.perf_counter()
    until = begun + 40

    def follow(client: Http2) -> None:
        client.run(lambda: all(a.end != "still open" for a in client.streams.values()), until=until)

    threads = [threading.Thread(target=follow, args=(client,)) for client in clients]
    threads.append(threading.Thread(target=crowd.run, args=(crowd.all_ended, until)))
    for thread in threads:
        thread.start()
    time.sleep(begun + 3 - time.perf_counter())
    first = live.write(policy_text("256 kbit/s"))
    time.sleep(begun + 6 - time.perf_counter())
    second = live.write(policy_text("256 kbit/s", rule="other photos"))
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    crowd.close()

    ends = [answer.end for answer in answers] + [each.ended for each in crowd.downloads]
    whole = hashlib.sha256(noise(0, SIZE)).hexdigest()
    digests = [hashlib.sha256(answer.body).hexdigest() for answer in answers]
    digests += [each.digest for each in crowd.downloads]
    arrivals = [answer.arrivals for answer in answers]
    arrivals += [each.arrivals for each in crowd.downloads]
    before = [shape.rate_between(each, begun + 0.8, first) for each in arrivals]
    after = [shape.rate_between(each, first + 1.0, second) for each in arrivals]
    last = max(each[-1][0] for each in arrivals)
    # When the sum of all has come half-way to its new rate.
    together = sorted(arrival for each in arrivals for arrival in each)
    counts = shape.windows(together, 0.05, first, first + 2)
    turned = next(n for n, count in enumerate(counts) if count > 0.05 * 200 * 20_000)
    name = "reload under 200 responses:"
    figures.add(f"{name} complete, hash equal", f"{digests.count(whole)} of {len(digests)}")
    figures.add(f"{name} 64 kbit/s", f"{8e-3 * min(before):.1f} to {8e-3 * max(before):.1f}")
    figures.add(
        f"{name} 256 kbit/s, a second later",
        f"{8e-3 * min(after):.1f} to {8e-3 * max(after):.1f}",
    )
    figures.add(f"{name} the sum has turned after", 0.05 * (turned + 1), "s")
    figures.add(f"{name} rule gone, 56 MB are through after", last - second, "s")
    assert ends == [COMPLETE] * 200
    assert digests == [whole] * 200
    assert all(near(rate, 8_000) for rate in before)
    assert all(near(rate, 32_000) for rate in after)
    assert turned < 18
    assert last - second < 5  # at 256 kbit/s it would be nine more


# -- ten a second


@pytest.mark.timeout(240)
def test_ten_reloads_a_second_for_a_minute(live: Live, figures: Figures) -> None:
    """In place, by renaming and by turning a symlink, under 20 long responses that come and go."""
    folder = live.path.parent
    stop = time.perf_counter() + 60
    crowd = Crowd()
    for _ in range(20):
        crowd.start(live.proxy, HOST, "/8mb.jpg")
    reader = threading.Thread(target=crowd.run, args=(lambda: False, stop + 0.5))
    reader.start()
    asked, failed = 0, []

    def small_ones() -> None:
        nonlocal asked
        while time.perf_counter() < stop:
            client = http1(live.proxy, HOST, secure=asked % 4 == 0)
            page = client.get("/page.html")
            photo = client.get("/400k.jpg", until=time.perf_counter() + 0.2)
            client.close()
            asked += 2
            if (page.status, page.body) != (200, b"<p>text") or photo.status not in (0, 200):
                failed.append((page, photo))

    asker = threading.Thread(target=small_ones)
    asker.start()
    number = 0
    begun = time.perf_counter()
    while time.perf_counter() < stop:
        number += 1
        text = policy_text(f"{32 + number % 7 * 16} kbit/s", more=f"# version {number}\n")
        if number % 3 == 0:
            live.path.unlink()
            live.path.write_text(text)
        elif number % 3 == 1:
            fresh = folder / "policy.new"
            fresh.write_text(text)
            fresh.rename(live.path)
        else:
            target = folder / f"policy-{number}.yaml"
            target.write_text(text)
            link = folder / "policy.link"
            link.symlink_to(target)
            link.rename(live.path)
        time.sleep(max(0.0, begun + 0.1 * number - time.perf_counter()))
    live.path.unlink()
    last = live.write(policy_text("320 kbit/s"))
    asker.join()
    reader.join()
    taken = live.proxy.log().count("took over")
    counts = [each for each in live.counts() if each["at"] > begun]
    early = [each for each in counts if begun + 10 < each["at"] < begun + 20]
    late = [each for each in counts if last - 10 < each["at"] < last]
    time.sleep(max(0.0, last + 1.0 - time.perf_counter()))
    rate = live.rate()
    under_way = [download.ended for download in crowd.downloads]
    crowd.close()

    def medians(name: str) -> tuple[float, float]:
        return tuple(statistics.median(e[name] for e in part) for part in (early, late))  # type: ignore[return-value]

    label = "ten reloads a second for 60 s:"
    figures.add(f"{label} written, taken", f"{number}, {taken}")
    figures.add(f"{label} requests meanwhile, failed", f"{asked}, {len(failed)}")
    for name in ("rss_bytes", "fds", "tasks", "objects"):
        figures.add(f"{label} {name} early, late", ", ".join(f"{n:.0f}" for n in medians(name)))
    figures.add(f"{label} then 320 kbit/s:", 8e-3 * rate, "kbit/s")
    assert number >= 550
    assert taken >= 150  # it looks four times a second
    assert not failed
    assert under_way == [""] * 20  # none was broken
    assert near(rate, 40_000)
    rss, fds, tasks, objects = map(medians, ("rss_bytes", "fds", "tasks", "objects"))
    assert rss[1] - rss[0] < 4_000_000
    assert abs(fds[1] - fds[0]) <= 3
    assert abs(tasks[1] - tasks[0]) <= 3
    assert objects[1] - objects[0] < 0.05 * objects[0]


# -- broken, gone, back


def test_a_broken_file_is_reported_once_and_the_next_good_one_is_taken(live: Live) -> None:
    said = "the last good policy stays in force"
    assert near(live.rate(), 8_000, 0.1)
    live.write(policy_text("64 kbits per lightyear"))
    assert wait_for(lambda: said in live.proxy.log(), 1.0) is not None
    time.sleep(1.5)
    log = live.proxy.log()
    assert log.count(said) == 1
    assert "policy.yaml:6:18: " in log  # the place, in the words of `check`
    assert near(live.rate(), 8_000, 0.1)
    live.write(policy_text("256 kbit/s"))
    assert wait_for(lambda: "took over" in live.proxy.log(), 1.0) is not None
    assert near(live.rate(), 32_000)
    live.write("version: 1\nname: live\nrules: [")
    assert wait_for(lambda: live.proxy.log().count(said) == 2, 1.0) is not None
    live.write(policy_text("128 kbit/s"))
    assert wait_for(lambda: live.proxy.log().count("took over") == 2, 1.0) is not None
    assert near(live.rate(), 16_000)


def test_a_broken_file_stays_good_for_what_is_under_way(live: Live) -> None:
    crowd = Crowd()
    crowd.start(live.proxy, HOST, "/8mb.jpg")
    begun = time.perf_counter()
    crowd.run(lambda: False, begun + 1)
    live.write("]")
    crowd.run(lambda: False, begun + 3.5)
    (download,) = crowd.downloads
    crowd.close()
    assert download.ended == ""
    assert near(shape.rate_between(download.arrivals, begun + 1.2, begun + 3.5), 8_000)


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def in_two_steps(path: Path, text: str) -> None:
    """Half of it is a broken policy for longer than it takes to look."""
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        time.sleep(0.06)
        file.write(text[len(text) // 2 :])


def by_renaming(path: Path, text: str) -> None:
    """As most editors save."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(text)
    fresh.rename(path)


def by_moving_away(path: Path, text: str) -> None:
    """As vim saves with a backup: for a moment there is no file."""
    path.rename(path.with_suffix(".yaml~"))
    time.sleep(0.3)
    path.write_text(text)


def by_a_symlink(path: Path, text: str) -> None:
    target = path.with_name("version-2.yaml")
    target.write_text(text)
    link = path.with_suffix(".link")
    link.symlink_to(target)
    link.rename(path)


def by_a_folder_that_is_turned(path: Path, text: str) -> None:
    """As Kubernetes mounts a ConfigMap: policy.yaml -> ..data/policy.yaml, ..data -> a version."""
    version = path.with_name("..2")
    version.mkdir()
    (version / path.name).write_text(text)
    data = path.with_name("..data")
    data.symlink_to(version.name)
    link = path.with_suffix(".link")
    link.symlink_to(f"..data/{path.name}")
    link.rename(path)


def with_an_old_date(path: Path, text: str) -> None:
    """As `cp -p` and `rsync -t` do: older than what it replaces, of the same length."""
    backup = path.with_suffix(".old")
    backup.write_text(text)
    shutil.copystat("/etc/hostname", backup)
    shutil.copy2(backup, path)


WAYS: Sequence[Callable[[Path, str], None]] = (
    in_place,
    in_two_steps,
    by_renaming,
    by_moving_away,
    by_a_symlink,
    by_a_folder_that_is_turned,
    with_an_old_date,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_way_of_saving_is_seen(way: Callable[[Path, str], None], live: Live) -> None:
    way(live.path, policy_text("32 kbit/s"))
    done = time.perf_counter()
    took = wait_for(lambda: "took over" in live.proxy.log(), 1.0)
    assert took is not None, f"not seen {time.perf_counter() - done:.1f} s later"
    assert "stays in force" not in live.proxy.log()
    assert near(live.rate(), 4_000, 0.1)
