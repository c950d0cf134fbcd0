"""The policy file is saved in each of the ways that there are, whole and broken: good versions
are taken, the others reported once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import running_proxy

from . import language_shape as shape
from .answer import Answer
from .http1 import http1
from .language_crowd import Crowd
from .language_live import HOST, Live, near, policy_text, running_live, running_origin
from .nginx import Nginx
from .process import wait_for

pytestmark = pytest.mark.e2e

TAKEN_S = 2.0
"""It looks four times a second."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with running_origin(tmp_path_factory.mktemp("reload") / "www") as nginx:
        yield nginx


@pytest.fixture
def live(origin: Nginx, tmp_path: Path) -> Iterator[Live]:
    with running_live(origin, tmp_path) as running:
        yield running


def test_a_broken_file_is_reported_once_and_the_next_good_one_is_taken(live: Live) -> None:
    said = "the last good policy stays in force"
    assert near(live.rate(), 8_000, 0.1)
    live.write(policy_text("64 kbits per lightyear"))
    assert wait_for(lambda: said in live.proxy.log(), TAKEN_S) is not None
    time.sleep(1.5)
    log = live.proxy.log()
    assert log.count(said) == 1
    assert "policy.yaml:6:18: " in log  # the place, in the words of `check`
    assert near(live.rate(), 8_000, 0.1)
    live.write(policy_text("256 kbit/s"))
    assert wait_for(lambda: "took over" in live.proxy.log(), TAKEN_S) is not None
    assert near(live.rate(), 32_000)
    live.write("version: 1\nname: live\nrules: [")
    assert wait_for(lambda: live.proxy.log().count(said) == 2, TAKEN_S) is not None
    live.write(policy_text("128 kbit/s"))
    assert wait_for(lambda: live.proxy.log().count("took over") == 2, TAKEN_S) is not None
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
    took = wait_for(lambda: "took over" in live.proxy.log(), TAKEN_S)
    assert took is not None, f"not seen {time.perf_counter() - done:.1f} s later"
    assert "stays in force" not in live.proxy.log()
    assert near(live.rate(), 4_000, 0.1)


def test_an_edit_while_it_starts_is_seen(origin: Nginx, tmp_path: Path) -> None:
    """The file has been read, but the proxy does not listen yet."""
    path, script = tmp_path / "policy.yaml", tmp_path / "edit.py"
    path.write_text(policy_text("64 kbit/s"))
    script.write_text(
        "from pathlib import Path\n"
        "def load(loader):\n"
        f"    path = Path({str(path)!r})\n"
        "    path.write_text(path.read_text().replace('64 kbit', '256 kbit'))\n"
    )
    with running_proxy(
        path, upstream_ca=origin.ca_path, resolve=origin.resolve, options=("-s", str(script))
    ) as proxy:
        time.sleep(1.0)
        assert near(Live(proxy, path, tmp_path).rate(), 32_000)


# -- what has not begun


SOON_S = 1.5


@pytest.fixture(scope="module")
def shared(origin: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One for all changes, each of which begins with a policy of its own."""
    with running_live(origin, tmp_path_factory.mktemp("waits")) as running:
        yield running


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("requests: 1 / hour", "requests: 100 / s"),
        ("requests: 1 / hour", "rate: 1 Mbit/s"),
        ("delay: 60 s", "delay: 100 ms"),
        ("delay: 60 s", "pass: true"),
        ("delay: 60 s", "block: 451"),
        ("block: timeout", "rate: 1 Mbit/s"),
        ("block: timeout", "pass: true"),
    ],
)
def test_what_waits_follows_its_rule(before: str, after: str, shared: Live) -> None:
    """Who wrote `timeout` by mistake can mend it for those who wait already."""

    def changed(then: str) -> str:
        return policy_text("64 kbit/s").replace("rate: 64 kbit/s", then)

    def ask() -> Answer:
        client = http1(shared.proxy, HOST, secure=False, keep=False)
        answer = client.get("/400k.jpg", until=time.perf_counter() + 4)
        client.close()
        return answer

    taken = shared.proxy.log().count("took over")
    shared.write(changed(before))
    assert wait_for(lambda: shared.proxy.log().count("took over") > taken, TAKEN_S) is not None
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(ask) for _ in range(3)]
        time.sleep(0.7)
        done = shared.write(changed(after))
        answers = [job.result() for job in jobs]
    waited = [answer for answer in answers if not 0 < answer.headers_at < done]
    assert len(waited) >= 2  # the first of an hour may start at once
    assert all(answer.headers_at for answer in waited), "some still wait"
    assert max(answer.headers_at for answer in waited) < done + SOON_S
