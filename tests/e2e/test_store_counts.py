"""Starts, quotas and the start of stages over two proxies; what it costs; what the store holds."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from .figures import Figures
from .ran import waited_s
from .store_fleet import Fleet, fleet

pytestmark = pytest.mark.e2e

STARTS, PERIOD_S = 10, 2.0
FREE = 4_000_000
BATCH = 65_536
STAGE_S = 8.0
BUSY_S = 0.002
MOST_S = 60.0
POLICY = f"""
version: 1
name: counts
seed: not to be guessed
rules:
  - {{name: starts, when: {{host: starts.test}},
     then: {{requests: {{limit: "{STARTS} / {PERIOD_S:g} s", per: rule}}}}}}
  - {{name: quota, when: {{host: quota.test}},
     then: {{quota: {{free: 4 MB, per: client}}, rate: 16 kB/s}}}}
  - {{name: stages, when: {{host: stages.test}},
     then: {{stages: [{{for: {STAGE_S:g} s, block: 403}}, {{block: 429}}]}}}}
  - {{name: rate, when: {{host: .rate.test}}, then: {{rate: {{limit: 10 MB/s, per: host}}}}}}
"""


@pytest.fixture(scope="module")
def two(policy: Callable[[str], Path]) -> Iterator[Fleet]:
    with fleet(policy(POLICY), 2, apart=False) as running:
        yield running
        assert "Traceback" not in running.log()


def get(
    door: tuple[str, int], host: str, size: int, within_s: float = 60
) -> tuple[float, int, int]:
    """(seconds to the first byte of the body, bytes that came in time, status)."""
    start = time.perf_counter()
    with socket.create_connection(door) as sock:
        sock.sendall(f"GET http://{host}/bytes/{size} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        data, first = b"", 0.0
        body = -1
        while (left := start + within_s - time.perf_counter()) > 0:
            sock.settimeout(left)
            try:
                chunk = sock.recv(65536)
            except TimeoutError:
                break
            if not chunk:
                break
            data += chunk
            if body < 0 and b"\r\n\r\n" in data:
                body = data.index(b"\r\n\r\n") + 4
            if body >= 0 and len(data) > body and not first:
                first = time.perf_counter() - start
            if body >= 0 and len(data) - body >= size:
                break
        status = int(data.split(b" ")[1]) if data else 0
        return first, max(0, len(data) - body), status


def test_the_stages_have_a_common_start(two: Fleet, policy: Callable[[str], Path],
                                        figures: Figures) -> None:  # fmt: skip
    """A third proxy, started later, is where the others are."""
    path = policy(POLICY)
    time.sleep(2)
    changes = []
    with running_proxy(
        path,
        options=["--set", f"throttle_store={two.store.url}"],
        resolve={"*": (two.crowd.address, two.crowd.port)},
    ) as late:
        doors = [*two.doors, ("127.0.0.1", late.port)]
        time.sleep(0.5)
        while len(changes) < 3:
            assert time.perf_counter() < 1e12
            for door in list(doors):
                if get(door, "stages.test", 10)[2] == 429:
                    changes.append(time.perf_counter())
                    doors.remove(door)
            time.sleep(0.02)
    figures.add("store, stages: three proxies change within", max(changes) - min(changes), "s")
    assert max(changes) - min(changes) < 0.5


def test_never_more_starts_than_the_limit(two: Fleet, figures: Figures) -> None:
    started: list[float] = []
    lock = threading.Lock()

    def one(door: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            _, _, status = get(door, "starts.test", 10)
            if status == 200:
                with lock:
                    started.append(time.perf_counter())

    count = 32
    begin = time.perf_counter()
    threads = [threading.Thread(target=one, args=(two.doors[n % 2],)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started.sort()
    took = started[-1] - begin
    # Never more than STARTS within the period; a moment for the way back.
    window_s = PERIOD_S - 0.1
    over = max(sum(at <= each < at + window_s for each in started) for at in started) - STARTS
    figures.add(
        f"store, {count} starts at {STARTS} in {PERIOD_S:g} s over two proxies: took", took, "s"
    )
    figures.add("store, starts above the limit at any time", over)
    assert len(started) == count
    assert over <= 1
    assert took < (count - 1) // STARTS * PERIOD_S + 1.5


def test_a_quota_is_exceeded_by_a_batch_a_process_at_most(two: Fleet, figures: Figures) -> None:
    used: list[int] = []

    def one(door: tuple[str, int]) -> None:
        used.append(get(door, "quota.test", FREE, within_s=3)[1])

    threads = [threading.Thread(target=one, args=(door,)) for door in two.doors * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paced = 4 * 3 * 16_000
    figures.add("store, quota of 4 MB by four responses over two proxies: bytes above it at full "
                "speed, at most", sum(used) - FREE)  # fmt: skip
    assert sum(used) >= 0.95 * FREE
    assert sum(used) - FREE <= 2 * BATCH + paced


def test_what_is_in_the_store_tells_nothing_of_clients(two: Fleet) -> None:
    get(two.doors[0], "a.rate.test", 1000)
    keys = two.store.ask("KEYS", "*")
    assert "mt:{" in keys
    for word in ("127.0.0.1", "rate", "quota.test", "guessed"):
        assert word not in keys
    for key in (line for line in keys.split("\r\n") if line.startswith("mt:")):
        assert int(two.store.ask("PTTL", key).lstrip(":")) > 0


def test_how_many_commands_a_second(two: Fleet, figures: Figures) -> None:
    bodies = [two.crowd.join(door, 3, host="b.rate.test")[0] for door in two.doors]
    time.sleep(1)
    before, cpu = two.store.calls(), two.store.cpu_s()
    time.sleep(4)
    after = two.store.calls()
    two.crowd.leave(two.crowd.bodies)
    assert not [body for body in bodies if body.broken]
    sent = (after["evalsha"] - before.get("evalsha", 0)) / 4 / 2
    names = ("hmget", "hset", "hgetall", "time", "pexpire", "publish", "hdel")
    inside = sum(after.get(name, 0) - before.get(name, 0) for name in names) / 4 / 2
    figures.add("store, one budget in use: commands a second for each process", sent)
    figures.add("store, and within their scripts", inside)
    figures.add("store, CPU for two processes", (two.store.cpu_s() - cpu) / 4 * 100, "%")
    assert sent <= 15


@pytest.mark.alone
def test_the_first_byte_does_not_wait_for_the_store(
    two: Fleet, policy: Callable[[str], Path], figures: Figures
) -> None:
    """Each response is the first of a host, so each budget is new; by turns with and without."""
    path = policy(POLICY)
    with contextlib.ExitStack() as stack:
        proxies = {
            name: stack.enter_context(
                running_proxy(
                    path,
                    options=options,
                    resolve={"*": (two.crowd.address, two.crowd.port)},
                )
            )
            for name, options in (
                ("with", ["--set", f"throttle_store={two.store.url}"]),
                ("without", []),
            )
        }
        first_bytes = FirstBytes(proxies, two.crowd.thread_id)
        first_bytes.measure("w", 1)
        warm, raw = first_bytes.measure("h", 200)
        two.store.freeze()
        frozen, _ = first_bytes.measure("f", 60)
        two.store.thaw()
    late = {name: statistics.quantiles(each, n=100)[98] for name, each in warm.items()}
    middle = {name: statistics.median(each) for name, each in warm.items()}
    still = {name: statistics.median(each) for name, each in frozen.items()}
    busy = {name: statistics.quantiles(each, n=100)[98] for name, each in raw.items()}
    for what, found in (
        ("median", middle),
        ("p99", late),
        (f"p99 with those of {len(raw['with'])} in which the machine did something else", busy),
        ("median while it does not answer", still),
    ):
        figures.add(f"store, first byte, {what}, with and without it",
                    f"{1000 * found['with']:.2f}, {1000 * found['without']:.2f}", "ms")  # fmt: skip
    assert middle["with"] - middle["without"] < 0.005
    assert late["with"] - late["without"] < 0.005
    # Whoever waited for it would wait a second, which is when it is given up.
    assert still["with"] - still["without"] < 0.005
    assert max(frozen["with"]) < 0.9


class FirstBytes:
    """Seconds to the first byte through each proxy, by turns, each time of another host."""

    def __init__(self, proxies: Mapping[str, RunningProxy], crowd: int) -> None:
        self._proxies = proxies
        self._crowd = crowd

    def measure(self, hosts: str, count: int) -> tuple[dict[str, list[float]], ...]:
        """So many of each in which nobody had to wait for a processor; and all that it took."""
        counted: dict[str, list[float]] = {name: [] for name in self._proxies}
        every: dict[str, list[float]] = {name: [] for name in self._proxies}
        number, until = 0, time.perf_counter() + MOST_S
        while time.perf_counter() < until:
            number += 1
            for name, proxy in self._proxies.items():
                ids = (proxy.pid, self._crowd, threading.get_native_id())
                before = waited_s(ids)
                first, _, _ = get(("127.0.0.1", proxy.port), f"{hosts}{number}.rate.test", 2000)
                every[name].append(first)
                if waited_s(ids) - before < BUSY_S:
                    counted[name].append(first)
            if min(map(len, counted.values())) >= count:
                return counted, every
        pytest.fail("the machine did something else all the time: this wants it for itself")
