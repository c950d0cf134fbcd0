"""The live page in a real browser: it shows what a client measures, switches a rule and the
client feels it, and can be used by everybody.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from mitmthrottle.lab.origin import Origin, running_origin
from mitmthrottle.lab.proxy import RunningProxy
from mitmthrottle.policy import Decider, parse_policy

from .figures import Figures
from .seeing_lab import Errors, Watched, chromium, seen_proxy

pytestmark = pytest.mark.e2e

RATE = 16_000
RULE = "photos / slow"
POLICY = f"""
version: 1
name: seen
rules:
  - name: {RULE}
    when: {{host: .photos.example, content: photo}}
    then: {{rate: 128 kbit/s}}
  - name: video
    when: {{host: [video.example, "*.cdn.example"]}}
    then: {{rate: {{limit: 1 Mbit/s, per: client}}}}
"""
PHOTO = "https://www.photos.example/bytes/3000000?type=image/jpeg"
WIDE = {"width": 1280, "height": 900}
WAYS: dict[str, dict[str, object]] = {
    "desktop": {"viewport": WIDE},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True,
              "device_scale_factor": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with running_origin(["www.photos.example", "video.example", "free.example"]) as running:
        yield running


@pytest.fixture(scope="module")
def seen(
    origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningProxy, str]]:
    path = tmp_path_factory.mktemp("policy") / "seen.yaml"
    path.write_text(POLICY)
    options = ["--set", "throttle_page_writers=127.0.0.1/32"]
    with seen_proxy(path, origin, options=options) as running:
        yield running


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as running:
        yield running


@pytest.fixture(scope="module")
def proxied(playwright: Playwright, seen: tuple[RunningProxy, str]) -> Iterator[Browser]:
    with chromium(playwright, proxy=seen[0].url) as running:
        yield running


def is_off(url: str) -> bool:
    return bool(httpx.get(f"{url}/api/state", trust_env=False).json()["rules"][0]["switched_off"])


def shown_rate(page: Page) -> float:
    """What the page shows as measured for the first rule, in bytes/s."""
    number, unit = page.locator(".rule .measured dd").first.inner_text().split()
    return float(number) * {"bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}[unit] / 8


def wait_for(condition: Callable[[], bool], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def confirm(page: Page, button: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=button).click()


@pytest.mark.parametrize("way", ["listener", "throttle.proxy"])
def test_a_rule_is_switched_and_the_client_feels_it(
    way: str,
    seen: tuple[RunningProxy, str],
    browser: Browser,
    proxied: Browser,
    figures: Figures,
) -> None:
    proxy, url = seen
    chosen, address = (browser, url) if way == "listener" else (proxied, "http://throttle.proxy")
    page = chosen.new_page()
    errors = Errors(page)
    with Watched(proxy, PHOTO) as client:
        page.goto(address)
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator(".body .host").first).to_have_text("www.photos.example")
        slow = client.rate_bytes_per_s(3)
        figures.add(f"page by {way}, client at 128 kbit/s", slow, "B/s")
        assert slow == pytest.approx(RATE, rel=0.1)
        wait_for(lambda: abs(shown_rate(page) / RATE - 1) < 0.1)

        switch = page.get_by_role("switch", name=f"Rule {RULE}")
        expect(switch).to_be_checked()
        switch.click()
        expect(page.get_by_role("dialog")).to_contain_text("seen.yaml is not changed")
        confirm(page, "Switch off")
        expect(page.get_by_role("status")).to_contain_text(
            f"“{RULE}” is off; seen.yaml is unchanged"
        )
        expect(switch).not_to_be_checked()
        assert is_off(url)
        free = client.rate_bytes_per_s(2)
        figures.add(f"page by {way}, the same switched off", free, "B/s")
        assert free > 10 * RATE
        expect(page.locator(".rule .measured dd").first).to_have_text("–")  # it has nothing to do

        page.get_by_role("button", name="Undo").press("Enter")
        expect(switch).to_be_checked()
        assert not is_off(url)
        time.sleep(1)  # what was on its way is through
        slow = client.rate_bytes_per_s(3)
        figures.add(f"page by {way}, the same switched on again", slow, "B/s")
        assert slow == pytest.approx(RATE, rel=0.1)
    assert errors.said == []
    page.close()


def test_by_keyboard_alone(seen: tuple[RunningProxy, str], browser: Browser) -> None:
    page = browser.new_page()
    errors = Errors(page)
    page.goto(seen[1])
    switch = page.get_by_role("switch").first
    expect(switch).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the rules")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=RULE).first).to_be_focused()
    page.keyboard.press("Tab")
    expect(switch).to_be_focused()
    outline = switch.evaluate("node => getComputedStyle(node).outlineWidth")
    assert outline == "3px"
    page.keyboard.press("Space")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("button", name="Leave it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(switch).to_be_focused()
    page.wait_for_timeout(1500)  # a new state has come, and the focus has stayed
    expect(switch).to_be_focused()
    assert not is_off(seen[1])
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("li:target")).to_contain_text(f"- name: {RULE}")
    assert errors.said == []
    page.close()


@pytest.mark.parametrize("way", WAYS)
def test_everybody_can_use_it(
    way: str, seen: tuple[RunningProxy, str], browser: Browser, figures: Figures, artifacts: Path
) -> None:
    proxy, url = seen
    context = browser.new_context(**WAYS[way])  # type: ignore[arg-type]  # by name
    page = context.new_page()
    errors = Errors(page)
    with Watched(proxy, PHOTO):
        page.goto(url)
        expect(page.locator(".body")).to_have_count(1)
        page.locator(".decision summary").first.click()
        page.wait_for_timeout(1500)
        page.screenshot(path=artifacts / f"page-{way}.png", full_page=True)
        faults = violations(page)
        page.get_by_role("switch").first.click()
        page.screenshot(path=artifacts / f"page-{way}-dialog.png")
        faults += violations(page)
        page.keyboard.press("Escape")
        figures.add(f"page on {way}: faults that axe-core finds", len(faults))
        assert faults == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= page.viewport_size["width"]  # type: ignore[index]  # it has one
    assert errors.said == []
    context.close()


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:120]}" for each in found]


def test_a_reader_who_may_not_switch_is_told(
    seen: tuple[RunningProxy, str], browser: Browser, artifacts: Path
) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
        state = other.get(f"{seen[1]}/api/state").json()
        assert state["reader"]["token"] is None
        assert (state["decisions"], state["clients"], state["hosts_seen"]) == ([], [], [])
        refused = other.post(f"{seen[1]}/api/rules/{quote(RULE, safe='')}?action=disable")
        assert refused.status_code == 403
    page = browser.new_page()
    page.route("**/api/state*", lambda route: route.fulfill(json=state))
    page.goto(seen[1])
    expect(page.locator("#notices")).to_contain_text("You see the rules and your own traffic")
    page.get_by_role("switch").first.click(force=True)  # it says that it is disabled
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("status")).to_contain_text("Read-only: you come from 127.0.0.2")
    page.screenshot(path=artifacts / "page-read-only.png")
    assert violations(page) == []
    page.close()


def test_the_settings_file_in_a_browser(seen: tuple[RunningProxy, str], browser: Browser) -> None:
    proxy, url = seen
    text = httpx.get(f"{url}/proxy.pac", trust_env=False).text
    decider = Decider(parse_policy(POLICY, "seen.yaml"))
    hosts = ["photos.example", "www.photos.example", "WWW.Photos.Example.", "xphotos.example",
             "photos.example.org", "video.example", "a.video.example", "cdn.example",
             "a.cdn.example", "a.b.cdn.example", "free.example", "localhost", "constructor",
             "__proto__", "[2001:db8::1]", "10.0.0.1"]  # fmt: skip
    page = browser.new_page()
    script = f"hosts => {{ {text}; return hosts.map(h => FindProxyForURL('https://x/', h)) }}"
    through = f"PROXY 127.0.0.1:{proxy.port}"
    expected = [through if decider.might_match_host(host) else "DIRECT" for host in hosts]
    assert page.evaluate(script, hosts) == expected
    assert page.evaluate(script, ["throttle.proxy", "mitm.it"]) == [through, through]
    page.close()


def test_a_broken_version_and_a_new_start(
    origin: Origin, browser: Browser, tmp_path: Path, artifacts: Path
) -> None:
    path = tmp_path / "seen.yaml"
    path.write_text(POLICY)
    page = browser.new_page()
    with seen_proxy(path, origin) as (proxy, url):
        listen = url.removeprefix("http://")
        page.goto(url)
        notices = page.locator("#notices")
        expect(notices).to_contain_text("No request has come through the proxy yet")
        expect(notices).to_contain_text(f"127.0.0.1:{proxy.port}")
        page.screenshot(path=artifacts / "page-no-traffic.png", full_page=True)
        with httpx.Client(proxy=proxy.url, verify=False) as client:
            client.get("https://free.example/bytes/10")
        expect(notices).to_contain_text("no rule is for any of the hosts")
        expect(notices).to_contain_text("free.example")
        path.write_text(POLICY.replace("content:", "contnet:"))
        expect(notices).to_contain_text("unknown key `contnet`: did you mean `content`?")
        page.screenshot(path=artifacts / "page-refused.png", full_page=True)
        path.write_text(POLICY.replace("128 kbit/s", "256 kbit/s"))
        expect(page.locator(".rule .says").first).to_have_text("256 kbit/s per response")
        expect(notices).not_to_contain_text("contnet")
        expect(page.locator("#policy-text")).to_contain_text("rate: 256 kbit/s")
    expect(page.locator("#connection")).to_have_text("no answer, trying again", timeout=15_000)
    with seen_proxy(path, origin, listen=listen):
        expect(page.locator("#connection")).to_have_text("live", timeout=15_000)
        expect(page.get_by_role("status")).to_contain_text("started anew", timeout=15_000)
        expect(page.locator(".rule")).to_have_count(2)
    page.close()


def test_the_state_is_as_documented(seen: tuple[RunningProxy, str]) -> None:
    """Each field of the JSON stands in docs/live-page.md."""
    text = (Path(__file__).parents[2] / "docs" / "live-page.md").read_text()
    httpx.get(f"{seen[1]}/api/state", trust_env=False)  # somebody looks
    with httpx.Client(proxy=seen[0].url, verify=False) as client:
        client.get("https://www.photos.example/bytes/10?type=text/plain")
    state = httpx.get(f"{seen[1]}/api/state", trust_env=False).json()

    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {name for each in value.values() for name in names(each)}
        if isinstance(value, list):
            return {name for each in value for name in names(each)}
        return set()

    assert state["decisions"][0]["why_not"]
    missing = [name for name in sorted(names(state)) if f"`{name}`" not in text]
    assert missing == [], json.dumps(missing)
