"""Two proxies and a real store, seen as one on the page of either."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from click.testing import CliRunner
from playwright.sync_api import Browser, expect, sync_playwright

from mitmthrottle.cli import main
from mitmthrottle.lab.origin import running_origin
from mitmthrottle.lab.proxy import ProxyDied, RunningProxy

from .figures import Figures
from .seeing_lab import Errors, Watched, chromium, seen_proxy
from .store_crowd import until
from .store_server import StoreServer, running_store
from .test_seeing_page import WAYS

pytestmark = pytest.mark.e2e

RATE = 64_000.0
RULE = "photos"
POLICY = """
version: 1
name: members
seed: nobody guesses
rules:
  - name: photos
    when: {host: .photos.example, content: photo}
    then: {rate: [{limit: 64 kB/s, per: rule}, {limit: 48 kB/s, per: client}]}
"""
PHOTO = "https://www.photos.example/bytes/3000000?type=image/jpeg"
SHARED = 48_000.0
"""All clients of this test are one."""


@dataclass
class Two:
    """`pages` are the URLs of the proxies' live pages."""

    store: StoreServer
    proxies: list[RunningProxy]
    pages: list[str]

    def members(self, of: int = 0) -> list[dict[str, Any]]:
        return list(self.told(of)["members"] or ())

    def told(self, of: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.pages[of]}/api/state", trust_env=False).json()
        return dict(found["store"])

    def switch(self, of: int, action: str) -> None:
        state = httpx.get(f"{self.pages[of]}/api/state", trust_env=False).json()
        headers = {"X-Throttle-Token": state["reader"]["token"]}
        url = f"{self.pages[of]}/api/rules/{RULE}?action={action}"
        assert httpx.post(url, headers=headers, trust_env=False).status_code == 200


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    path = tmp_path_factory.mktemp("policy") / "members.yaml"
    path.write_text(POLICY)
    with (
        running_origin(["www.photos.example"]) as origin,
        running_store() as store,
        contextlib.suppress(ProxyDied),  # the last test kills one
        contextlib.ExitStack() as stack,
    ):
        options = ["--set", f"throttle_store={store.url}"]
        running = [stack.enter_context(seen_proxy(path, origin, options=options)) for _ in range(2)]
        yield Two(store, [each[0] for each in running], [each[1] for each in running])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, chromium(playwright) as running:
        yield running


@contextlib.contextmanager
def clients(two: Two, *counts: int) -> Iterator[None]:
    """So many on each proxy, until the block ends."""
    with contextlib.ExitStack() as stack:
        for proxy, count in zip(two.proxies, counts, strict=True):
            for _ in range(count):
                stack.enter_context(Watched(proxy, PHOTO))
        yield


def comes(condition: Callable[[], bool], within_s: float = 10.0) -> float:
    took = until(condition, within_s)
    assert took is not None
    return took


def test_both_are_told_of_by_each(two: Two, figures: Figures) -> None:
    with clients(two, 3, 1):
        figures.add(
            "members: both known to one that is asked, after",
            comes(lambda: len(two.members()) == 2),
            "s",
        )
        names = [f"{os.uname().nodename}:{proxy.port}" for proxy in two.proxies]
        # What is shown is the last half second: on a busy machine not each of them is as the rest.
        for of in (0, 1):
            comes(lambda of=of: fits(two.members(of), names, names[of]), 30.0)  # type: ignore[misc]
        together = sum(each["measured_bytes_per_s"] for each in two.members())
    figures.add("members: what both are seen to do, over the limit", together / SHARED)


def fits(members: list[dict[str, Any]], names: list[str], this: str) -> bool:
    """Whether this is what three clients of the first proxy and one of the second get."""
    seen = {member["name"]: member for member in members}
    if sorted(seen) != sorted(names):
        return False
    for name, count, part in zip(names, (3, 1), (0.75, 0.25), strict=True):
        member = seen[name]
        shares = [each for each in member["shares"] if each["per"] == "client"]
        if [(each["rule"], each["budgets"], each["responses"]) for each in shares] != [
            (RULE, 1, count)
        ]:
            return False
        if (member["this"], member["active"], member["other_policy"]) != (
            name == this,
            count,
            False,
        ):
            return False
        measured = shares[0]["measured_bytes_per_s"], member["measured_bytes_per_s"]
        if shares[0]["part"] != pytest.approx(part, rel=0.05):
            return False
        if measured != pytest.approx((SHARED * part, SHARED * part), rel=0.15):
            return False
    return True


def test_the_fields_are_as_documented(two: Two) -> None:
    text = (Path(__file__).parents[2] / "docs" / "live-page.md").read_text()
    with clients(two, 1, 1):
        comes(lambda: all(each["shares"] for each in two.members() or [{"shares": ()}]))
        told = two.told()
    for fields in (told, told["members"][0], told["members"][0]["shares"][0]):
        assert [name for name in fields if f"`{name}`" not in text] == []


def test_nothing_of_clients_hosts_or_rules_is_in_clear(two: Two) -> None:
    with clients(two, 1, 1):
        time.sleep(3)
        keys = two.store.ask("KEYS", "mt:*").split("\r\n")
        said = "".join(
            two.store.ask("HGETALL", key)
            for key in keys
            if key.startswith("mt:") and two.store.ask("TYPE", key) == "+hash"
        )
    assert '"measured_bytes_per_s"' in said
    for word in ("127.0.0.1", "photos", "www.", "iPhone"):
        assert word not in said


@pytest.mark.parametrize("way", WAYS)
def test_the_page_shows_all(two: Two, browser: Browser, way: str, artifacts: Path) -> None:
    context = browser.new_context(**WAYS[way])  # type: ignore[arg-type]  # by name
    page = context.new_page()
    errors = Errors(page)
    with clients(two, 3, 1):
        page.goto(two.pages[0])
        expect(page.locator(".member")).to_have_count(2, timeout=10_000)
        expect(page.locator(".member").first).to_contain_text("this one")
        expect(page.locator(".member").nth(1)).to_contain_text(f":{two.proxies[1].port}")
        expect(page.locator("#notices")).to_contain_text("Shares its budgets with 1 other proxy")
        page.wait_for_timeout(4000)
        expect(page.locator(".member").first.locator(".share").first).to_contain_text("75 %")
        page.screenshot(path=artifacts / f"members-{way}.png", full_page=True)
        found = Axe().run(page).response["violations"]
        assert [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in found] == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= page.viewport_size["width"]  # type: ignore[index]  # it has one
    assert errors.said == []
    context.close()


def test_without_a_store_nothing_is_shown(two: Two, browser: Browser) -> None:
    state = httpx.get(f"{two.pages[0]}/api/state", trust_env=False).json()
    page = browser.new_page()
    page.route("**/api/state*", lambda route: route.fulfill(json={**state, "store": None}))
    page.goto(two.pages[0])
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.get_by_role("heading", name="Proxies")).to_be_hidden()
    page.close()


def test_in_a_terminal(two: Two) -> None:
    with clients(two, 3, 1):
        time.sleep(5)
        said = CliRunner().invoke(main, ["top", two.pages[0], "--once"], env={"COLUMNS": "140"})
    assert said.exit_code == 0
    for proxy in two.proxies:
        assert f":{proxy.port}" in said.output
    for part in ("75%", "25%"):
        assert part in said.output, said.output


def test_another_policy_is_warned_of(two: Two, browser: Browser, artifacts: Path) -> None:
    page = browser.new_page(viewport=WAYS["desktop"]["viewport"])  # type: ignore[arg-type]
    page.goto(two.pages[0])
    expect(page.locator(".member")).to_have_count(2, timeout=10_000)
    expect(page.locator("#notices")).not_to_contain_text("same policy")
    two.switch(1, "disable")
    notice = page.locator("#notices")
    expect(notice).to_contain_text("do not run the same policy", timeout=10_000)
    expect(page.locator(".member").nth(1)).to_contain_text("another policy")
    page.screenshot(path=artifacts / "members-other-policy.png", full_page=True)
    two.switch(1, "enable")
    expect(notice).not_to_contain_text("do not run the same policy", timeout=10_000)
    page.close()


def test_one_that_is_silent_and_one_that_has_ended(
    two: Two, browser: Browser, artifacts: Path, figures: Figures
) -> None:
    """The last of these tests: it leaves one proxy."""
    page = browser.new_page(viewport=WAYS["desktop"]["viewport"])  # type: ignore[arg-type]
    page.goto(two.pages[0])
    expect(page.locator(".member")).to_have_count(2, timeout=10_000)
    frozen = two.proxies[1].pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        expect(page.locator(".member").nth(1)).to_contain_text("silent for", timeout=12_000)
        page.screenshot(path=artifacts / "members-silent.png", full_page=True)
    finally:
        os.kill(frozen, signal.SIGCONT)
    expect(page.locator(".member").nth(1)).not_to_contain_text("silent", timeout=10_000)
    os.kill(frozen, signal.SIGKILL)
    began = time.monotonic()
    expect(page.locator(".member")).to_have_count(1, timeout=15_000)
    figures.add("members: one that was killed is not shown any more after",
                time.monotonic() - began, "s")  # fmt: skip
    two.store.freeze()
    expect(page.locator("#notices")).to_contain_text("store is away", timeout=10_000)
    expect(page.locator(".member")).to_have_count(1)
    two.store.thaw()
    page.close()
    assert json.dumps(two.members())
