"""The policy changes while responses are under way, and ten times a second."""

from __future__ import annotations

import hashlib
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.noise import noise

from . import curve, dial
from . import language_shape as shape
from .answer import COMPLETE, Answer
from .figures import Figures
from .http1 import http1
from .http2 import Http2, http2
from .language_crowd import Crowd
from .language_live import HOST, SIZE, Live, near, policy_text, running_live, running_origin
from .language_upload import Http2Upload
from .nginx import Nginx
from .process import resident_bytes, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with running_origin(tmp_path_factory.mktemp("reload") / "www") as nginx:
        yield nginx


@pytest.fixture
def live(origin: Nginx, tmp_path: Path) -> Iterator[Live]:
    with running_live(origin, tmp_path) as running:
        yield running


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
    before = [held(each, begun + 0.8, first) for each in arrivals]
    after = [held(each, first + 1.0, second) for each in arrivals]
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
    # A second holds about ten pieces of each: one more or less is a tenth.
    assert near(sum(before) / len(before), 8_000)
    assert all(near(rate, 8_000, 0.2) for rate in before)
    assert all(near(rate, 32_000) for rate in after)
    assert turned < 18
    assert last - second < 5  # at 256 kbit/s it would be nine more


def held(arrivals: curve.Arrivals, start: float, stop: float) -> float:
    return curve.slope_bytes_per_s([each for each in arrivals if start <= each[0] < stop])


ELSEWHERE = policy_text("64 kbit/s").replace(HOST, "elsewhere.example.org")
HOLDS_BYTES = 8_000_000


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_old_connections_are_held_like_new_ones(
    protocol: str, live: Live, figures: Figures
) -> None:
    """A connection that was made before there was a rule for its host: what is slow on it now does
    not pile up in the proxy."""
    live.write(ELSEWHERE)
    assert wait_for(lambda: "took over" in live.proxy.log(), 2.0) is not None
    client = (
        http2(live.proxy, HOST, keep=False)
        if protocol == "h2"
        else http1(live.proxy, HOST, secure=True, keep=False)
    )
    assert client.get("/page.html").size == len(b"<p>text")
    live.write(policy_text("128 kbit/s"))
    assert wait_for(lambda: live.proxy.log().count("took over") == 2, 2.0) is not None
    before = resident_bytes(live.proxy.pid)
    answer = client.get("/1gb.jpg", until=time.perf_counter() + 2.5)
    grown = resident_bytes(live.proxy.pid) - before
    client.close()
    rate = shape.rate_between(answer.arrivals, answer.sent_at + 0.3, answer.sent_at + 2.5)
    name = f"reload, 1 GB at 128 kbit/s on an older connection, {protocol}:"
    figures.add(f"{name} growth of the proxy", grown / 1e6, "MB")
    assert near(rate, 16_000)
    assert grown < HOLDS_BYTES


def test_uploads_on_old_connections_are_held_like_those_on_new_ones(
    live: Live, figures: Figures
) -> None:
    """The origin refuses a POST at its end only; what counts is what the proxy takes meanwhile.

    This client reads nothing while its window lasts, which was 2 GB until the rule came: it cannot
    be told in time, so its connection itself is held.
    """
    live.write(ELSEWHERE)
    assert wait_for(lambda: "took over" in live.proxy.log(), 2.0) is not None
    secure = dial.tunnel(live.proxy, HOST, "h2")
    uploader = Http2Upload(secure, HOST)
    uploader.send(1_000, until=time.perf_counter() + 5)
    up = "    then: {upload: {rate: 128 kbit/s}}\n"
    live.write(policy_text("128 kbit/s").replace("    then: {rate: 128 kbit/s}\n", up).replace(
        ", content: photo", ""))  # fmt: skip
    assert wait_for(lambda: live.proxy.log().count("took over") == 2, 2.0) is not None
    before = resident_bytes(live.proxy.pid)
    uploader.send(50_000_000, until=time.perf_counter() + 2.5)
    grown = resident_bytes(live.proxy.pid) - before
    secure.close()
    name = "reload, upload of 50 MB at 128 kbit/s on an older connection, h2:"
    figures.add(f"{name} growth of the proxy", grown / 1e6, "MB")
    assert grown < HOLDS_BYTES


# -- ten a second


RELOADS_S = 20.0


def test_ten_reloads_a_second(live: Live, figures: Figures) -> None:
    """In place, by renaming and by turning a symlink, under 20 long responses that come and go."""
    folder = live.path.parent
    stop = time.perf_counter() + RELOADS_S
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
    early = [each for each in counts if begun + 5 < each["at"] < begun + 10]
    late = [each for each in counts if last - 5 < each["at"] < last]
    time.sleep(max(0.0, last + 1.0 - time.perf_counter()))
    rate = live.rate()
    under_way = [download.ended for download in crowd.downloads]
    crowd.close()

    def medians(name: str) -> tuple[float, float]:
        return tuple(statistics.median(e[name] for e in part) for part in (early, late))  # type: ignore[return-value]

    label = f"ten reloads a second for {RELOADS_S:g} s:"
    figures.add(f"{label} written, taken", f"{number}, {taken}")
    figures.add(f"{label} requests meanwhile, failed", f"{asked}, {len(failed)}")
    for name in ("rss_bytes", "fds", "tasks", "objects"):
        figures.add(f"{label} {name} early, late", ", ".join(f"{n:.0f}" for n in medians(name)))
    figures.add(f"{label} then 320 kbit/s:", 8e-3 * rate, "kbit/s")
    assert number >= 9 * RELOADS_S
    assert taken >= 2.5 * RELOADS_S  # it looks four times a second
    assert not failed
    assert under_way == [""] * 20  # none was broken
    assert near(rate, 40_000)
    rss, fds, tasks, objects = map(medians, ("rss_bytes", "fds", "tasks", "objects"))
    assert rss[1] - rss[0] < 4_000_000
    assert abs(fds[1] - fds[0]) <= 3
    assert abs(tasks[1] - tasks[0]) <= 3
    assert objects[1] - objects[0] < 0.05 * objects[0]
    assert counts[-1]["frozen"] > 0.8 * objects[1]  # the collector does not go through all of it
