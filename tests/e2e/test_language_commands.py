"""`throttle.status`, `enable`, `disable` and `rate`, each with a time after which it reverts, typed
into mitmproxy's console and sent by mitmweb's page; measured at what responses get.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import language_shape as shape
from .answer import COMPLETE, Answer
from .figures import Figures
from .http1 import http1
from .language_tools import Console, Web, running_console, running_web
from .nginx import Nginx, running_nginx
from .process import wait_for

pytestmark = pytest.mark.e2e

HOST, OTHER = "photos.example.org", "videos.example.org"
POLICY = """
version: 1
name: commands
rules:
  - {name: the photos, when: {host: photos.example.org}, then: {rate: 256 kbit/s}}
  - {name: the videos, when: {host: videos.example.org}, then: {rate: 256 kbit/s}}
  - {name: banned, when: {host: banned.example.org}, then: {block: 451}}
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("commands")
    (root / "photo.jpg").write_bytes(noise(0, 1_000_000))
    (root / "page.html").write_bytes(b"<p>text")
    with running_nginx(root, ("*.example.org",), trustme.CA()) as nginx:
        yield nginx


@pytest.fixture
def web(origin: Nginx, policy: Callable[[str], Path]) -> Iterator[Web]:
    path = policy(POLICY)
    with running_web(path, upstream_ca=origin.ca_path, resolve=origin.resolve) as running:
        yield running
        assert "Traceback" not in running.proxy.log()


@pytest.fixture
def console(origin: Nginx, policy: Callable[[str], Path]) -> Iterator[Console]:
    path = policy(POLICY)
    with running_console(path, upstream_ca=origin.ca_path, resolve=origin.resolve) as running:
        yield running
        assert "Traceback" not in running.shown()


def get(proxy: RunningProxy, host: str, for_s: float) -> Answer:
    client = http1(proxy, host, secure=False, keep=False)
    answer = client.get("/photo.jpg", until=time.perf_counter() + for_s)
    client.close()
    return answer


def rate(proxy: RunningProxy, host: str = HOST) -> float:
    """What a new response gets, in bytes/s; infinity for one that came at once."""
    answer = get(proxy, host, 0.8)
    if answer.end == COMPLETE:
        return float("inf")
    return shape.rate_between(answer.arrivals, answer.sent_at + 0.1, answer.sent_at + 0.8)


def near(value: float, expected: float, tolerance: float = 0.08) -> bool:
    return value == pytest.approx(expected, rel=tolerance)


# -- mitmweb


def test_mitmweb_changes_a_rate_for_a_time(web: Web, figures: Figures) -> None:
    """Under a response that is under way: 256 kbit/s, then 1 Mbit/s for 2 s, then 256 again."""
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(get, web.proxy, HOST, 6.0)
        time.sleep(1.5)
        web.run("throttle.rate", "the photos", "1 Mbit/s", "2 s")
        done = time.perf_counter()
        assert "now 1 Mbit/s per response for 2 s more" in web.run("throttle.status")
        answer = job.result()
    rates = [
        shape.rate_between(answer.arrivals, done + start, done + stop)
        for start, stop in ((-1.2, -0.1), (0.3, 1.9), (2.3, 4.2))
    ]
    figures.add(
        "mitmweb, throttle.rate for 2 s under a response:",
        ", ".join(f"{8e-3 * each:.1f}" for each in rates) + " kbit/s",
    )
    assert near(rates[0], 32_000)
    assert near(rates[1], 125_000)
    assert near(rates[2], 32_000)
    assert near(rate(web.proxy, OTHER), 32_000)


def test_mitmweb_switches_a_rule_off_and_on(web: Web) -> None:
    web.run("throttle.disable", "the photos")
    assert rate(web.proxy) == float("inf")
    assert near(rate(web.proxy, OTHER), 32_000)
    assert "the photos: 256 kbit/s per response; 0 under way; switched off" in web.run(
        "throttle.status"
    )
    web.run("throttle.enable", "the photos")
    assert near(rate(web.proxy), 32_000)
    web.run("throttle.disable", "the photos", "1500 ms")
    assert rate(web.proxy) == float("inf")
    time.sleep(1.5)
    assert near(rate(web.proxy), 32_000)
    # On for a time only, and off again after it.
    web.run("throttle.disable", "the photos")
    web.run("throttle.enable", "the photos", "1500 ms")
    assert near(rate(web.proxy), 32_000)
    time.sleep(1.0)
    assert rate(web.proxy) == float("inf")


def test_mitmweb_frees_what_is_under_way(web: Web) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(get, web.proxy, HOST, 6.0)
        time.sleep(1.0)
        web.run("throttle.disable", "the photos")
        done = time.perf_counter()
        answer = job.result()
    assert (answer.end, answer.size) == (COMPLETE, 1_000_000)
    assert answer.ended_at - done < 1.0


def test_a_ban_can_be_lifted(web: Web) -> None:
    def status() -> int:
        client = http1(web.proxy, "banned.example.org", secure=False)
        answer = client.get("/page.html")
        client.close()
        return answer.status

    assert status() == 451
    web.run("throttle.disable", "banned", "1 s")
    assert status() == 200
    time.sleep(1.1)
    assert status() == 451


def test_a_second_command_keeps_what_was_there_before_the_first(web: Web) -> None:
    """A lasting rate, then switched off for a time, and for a longer time: the rate comes back."""
    web.run("throttle.rate", "the photos", "512 kbit/s")
    web.run("throttle.disable", "the photos", "10 s")
    web.run("throttle.disable", "the photos", "1 s")
    assert rate(web.proxy) == float("inf")
    time.sleep(1.1)
    assert near(rate(web.proxy), 64_000)


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("disable", ("the fotos",), "no rule is called `the fotos`: did you mean `the photos`?"),
        ("disable", ("the photos", "soon"), "`soon`"),
        ("disable", ("the photos", "10"), "unit"),
        ("rate", ("the photos", "64"), "unit"),
        ("rate", ("banned", "64 kbit/s"), "`banned` has no rate that could be changed"),
        ("rate", ("the photos",), "rate"),
        ("enable", ("nothing of the kind",), "there are: the photos, the videos, banned"),
    ],
)
def test_what_cannot_be_done_is_said(
    command: str, arguments: tuple[str, ...], said: str, shared_web: Web
) -> None:
    before = shared_web.run("throttle.status")
    with pytest.raises(RuntimeError, match=said.replace("?", r"\?")):
        shared_web.run(f"throttle.{command}", *arguments)
    assert shared_web.run("throttle.status") == before


@pytest.fixture(scope="module")
def shared_web(origin: Nginx, policy: Callable[[str], Path]) -> Iterator[Web]:
    path = policy(POLICY)
    with running_web(path, upstream_ca=origin.ca_path, resolve=origin.resolve) as running:
        yield running


def test_mitmweb_takes_another_policy_as_an_option(web: Web, policy: Callable[[str], Path]) -> None:
    web.set("throttle_policy", str(policy(POLICY.replace("256 kbit/s", "512 kbit/s"))))
    assert near(rate(web.proxy), 64_000)
    web.set("throttle_policy", "")
    assert rate(web.proxy) == float("inf")


def test_a_change_by_command_outlives_a_reload(web: Web, policy: Callable[[str], Path]) -> None:
    path = policy(POLICY)
    web.set("throttle_policy", str(path))
    web.run("throttle.rate", "the photos", "512 kbit/s", "4 s")
    path.write_text(POLICY.replace("256 kbit/s", "128 kbit/s"))
    assert wait_for(lambda: "128 kbit/s" in web.run("throttle.status"), 1.0) is not None
    assert near(rate(web.proxy), 64_000)
    assert near(rate(web.proxy, OTHER), 16_000, 0.15)
    time.sleep(2.5)
    assert near(rate(web.proxy), 16_000, 0.15)


# -- the console


def test_the_console_changes_a_rate_for_a_time(console: Console, figures: Figures) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(get, console.proxy, HOST, 6.0)
        time.sleep(1.2)
        console.run('throttle.rate "the photos" "1 Mbit/s" "2 s"')
        done = time.perf_counter()
        answer = job.result()
    rates = [
        shape.rate_between(answer.arrivals, done + start, done + stop)
        for start, stop in ((-1.2, -0.4), (0.4, 1.7), (2.5, 4.2))
    ]
    figures.add(
        "console, throttle.rate for 2 s under a response:",
        ", ".join(f"{8e-3 * each:.1f}" for each in rates) + " kbit/s",
    )
    assert near(rates[0], 32_000)
    assert near(rates[1], 125_000)
    assert near(rates[2], 32_000)


def test_the_console_switches_a_rule_off_and_on(console: Console) -> None:
    console.run('throttle.disable "the photos"')
    assert wait_for(lambda: rate(console.proxy) == float("inf"), 3.0) is not None
    console.clear()
    console.run("throttle.status")
    assert wait_for(lambda: "switched off" in console.shown(), 3.0) is not None
    console.type("q")  # the result is shown over all else
    console.run('throttle.enable "the photos"')
    assert wait_for(lambda: near(rate(console.proxy), 32_000), 4.0) is not None
    console.clear()
    console.run('throttle.disable "the fotos"')
    assert wait_for(lambda: "did you mean `the photos`?" in console.shown(), 3.0) is not None


def test_the_console_sets_the_policy(console: Console, policy: Callable[[str], Path]) -> None:
    other = policy(POLICY.replace("256 kbit/s", "512 kbit/s"))
    console.run(f"set throttle_policy={other}")
    assert wait_for(lambda: near(rate(console.proxy), 64_000), 4.0) is not None


# -- mitmdump, where nobody types


def test_mitmdump_takes_a_shipped_name(origin: Nginx) -> None:
    with running_proxy("video-1.5mbit", upstream_ca=origin.ca_path) as proxy:
        assert wait_for(lambda: "video-1.5mbit, 1 rules" in proxy.log(), 2.0) is not None
