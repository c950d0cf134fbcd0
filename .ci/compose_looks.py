"""How .ci/compose looks at the demo: the engine's facts, the screens, the transparent profile.

Rule: what a page shows is told by its text and its pixels; the screenshots are for people.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from compose_tools import (
    ARTIFACTS,
    CA,
    PROFILES,
    PROJECT,
    Wrong,
    all_well,
    compose,
    container,
    figure,
    inside,
    inspect,
    run,
    until,
)
from playwright.sync_api import Browser, Playwright, sync_playwright

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile"
SLOW_BYTES_PER_S = 16_000
SCREEN = {"width": 1280, "height": 800}  # the demo's own, so that its pixels are the page's


def confined() -> None:
    """No root, no capability, nothing to write to, no port for others, no way out, no key out."""
    confined_all(compose("ps", "-q").split())
    # A network that the browser is not in stands for all that lies outside.
    door = inspect(
        container("door"), f'{{{{(index .NetworkSettings.Networks "{PROJECT}_front").IPAddress}}}}'
    )
    for service in ("browser", "proxy", "origin"):
        networks = inspect(
            container(service), "{{range .NetworkSettings.Networks}}{{.NetworkID}} {{end}}"
        )
        if any(inspect(network, "{{.Internal}}") != "true" for network in networks.split()):
            raise Wrong(f"{service} is in a network that leads out")
    code = inside("browser", "sh", "-c", f"curl -s --max-time 2 http://{door}:8000/door; echo $?")
    if code.strip() not in ("7", "28"):
        raise Wrong(f"the browser reaches another network: curl's status {code}")
    modes = inside("proxy", "stat", "--format", "%a %U %n", CA, f"{CA}/mitmproxy-ca.pem").split()
    if modes[:2] != ["700", "mitmthrottle"] or modes[3:5] != ["600", "mitmthrottle"]:
        raise Wrong(f"the authority's key is not its own only: {modes}")
    for service in ("browser", "door", "prometheus", "origin"):
        mounts = inspect(container(service), "{{range .Mounts}}{{.Name}} {{end}}").split()
        if any("proxy-ca" in mount for mount in mounts):
            raise Wrong(f"{service} has the authority's key")


def confined_all(names: list[str]) -> None:
    """What holds for each container of the demo."""
    for name in names:
        facts = json.loads(run("docker", "inspect", name))[0]
        service = facts["Config"]["Labels"]["com.docker.compose.service"]
        status = Path(f"/proc/{facts['State']['Pid']}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        wrong = {
            "it runs as root": facts["Config"]["User"] in ("", "0", "root"),
            "its root can be written": not facts["HostConfig"]["ReadonlyRootfs"],
            "it has capabilities": int(fields["CapEff"], 16) or int(fields["CapBnd"], 16),
            "it may gain privileges": fields["NoNewPrivs"].strip() != "1",
            "it is privileged": facts["HostConfig"]["Privileged"],
            "it has the host's devices or engine": "docker.sock" in str(facts["Mounts"]),
            "a port is for others": any(
                bound["HostIp"] != "127.0.0.1"
                for ports in facts["NetworkSettings"]["Ports"].values()
                for bound in ports or []
            ),
        }  # fmt: skip
        for what, is_so in wrong.items():
            if is_so:
                raise Wrong(f"{service}: {what}")
    print(f"{len(names)} containers: no root, no capabilities, read-only, 127.0.0.1 only")


def seen_and_used() -> None:
    """Screenshots of both pages while the browser fetches, and what is on them."""
    run("docker", "restart", "--time", "1", container("browser"))
    all_well("browser")
    with sync_playwright() as playwright:
        browser = _chromium(playwright)
        pages = {}
        for name in ("BROWSER_PORT", "LIVE_PORT"):
            pages[name] = browser.new_page(viewport=SCREEN)
            pages[name].goto(f"http://127.0.0.1:{os.environ[name]}/")
        page = pages["BROWSER_PORT"]
        page.wait_for_function("document.documentElement.classList.contains('noVNC_connected')")
        page.wait_for_timeout(4000)
        for name, page in pages.items():
            page.screenshot(path=ARTIFACTS / f"compose-{name.split('_')[0].lower()}.png")
        # A blank screen has one colour.
        colours = pages["BROWSER_PORT"].evaluate(
            """() => { const canvas = document.querySelector('#noVNC_container canvas');
            const { width, height } = canvas;
            const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
            const found = new Set(); for (let i = 0; i < data.length; i += 4)
            found.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]); return found.size }"""
        )
        live = pages["LIVE_PORT"].inner_text("body")
        # Hands on: the address bar, by mouse and keyboard, through the page.
        page = pages["BROWSER_PORT"]
        page.mouse.click(500, 62)
        page.keyboard.type("https://twitter.com/", delay=20)
        page.keyboard.press("Enter")
        until(
            "the timeline that was typed", lambda: bool(_titles("browser", "https://twitter.")), 10
        )
        page.wait_for_timeout(2000)
        page.screenshot(path=ARTIFACTS / "compose-timeline.png")
        browser.close()
    if colours < 50:
        raise Wrong(f"the browser's screen shows {colours} colours: it is blank")
    if "photos and videos on half of the desktops" not in live:
        raise Wrong(f"the live page does not show the rule: {live[:300]!r}")


def screenshot(url: str, name: str) -> None:
    """Of a page, once it has had time to draw what it was told."""
    with sync_playwright() as playwright:
        browser = _chromium(playwright)
        page = browser.new_page(viewport=SCREEN)
        page.goto(url)
        page.wait_for_timeout(3000)
        page.screenshot(path=ARTIFACTS / name, full_page=True)
        browser.close()


def _chromium(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(
        executable_path=os.environ["CHROMIUM"],
        chromium_sandbox=os.geteuid() != 0,
        args=["--disable-gpu", "--disable-background-networking", "--disable-component-update"],
    )


def _titles(service: str, url: str) -> list[str]:
    """The titles of the pages that Chromium shows whose address begins so."""
    tabs = json.loads(inside(service, "curl", "-s", "http://127.0.0.1:9222/json"))
    return [tab["title"] for tab in tabs if tab["url"].startswith(url)]


def transparent() -> None:
    """A browser that knows of no proxy is slowed all the same."""
    compose("--profile", "transparent", "up", "-d")
    all_well("router", "proxy-transparent", "browser-transparent", "door-transparent")
    name = "browser-transparent"
    environment = inspect(container(name), "{{json .Config.Env}}")
    command = inside(name, "sh", "-c", "tr '\\0' ' ' </proc/[0-9]*/cmdline 2>/dev/null || true")
    if "--proxy-server" in command or "http://proxy" in environment:
        raise Wrong("the transparent profile's browser has a proxy setting")
    # Two browsers have only just started; on a busy machine a piece may be late, never early.
    for _ in range(3):
        slowed = _body_rate(name, "pbs.twimg.com")
        if slowed > 0.95 * SLOW_BYTES_PER_S:
            break
    free = _body_rate(name, "example.org")
    figure("transparent: a photo at 128 kbit/s came at", slowed * 8 / 1000, "kbit/s")
    figure("transparent: the same of the control", free * 8 / 1e6, "Mbit/s")
    if abs(slowed / SLOW_BYTES_PER_S - 1) > 0.05:
        raise Wrong(f"{slowed:.0f} B/s instead of {SLOW_BYTES_PER_S}")
    if free < 5 * SLOW_BYTES_PER_S:
        raise Wrong(f"the control is slowed too: {free:.0f} B/s")
    for address in ("198.18.10.10:81", "198.18.10.3:8080"):
        status = inside(name, "sh", "-c", f"curl -s --max-time 3 http://{address}/; echo $?")
        if status.endswith("0\n"):
            raise Wrong(f"the router lets through to {address}")
    if "mitmthrottle" not in "".join(_titles(name, "https://start.example/")):
        raise Wrong("the browser without a proxy setting does not show the start page")
    for capable in (line for line in compose(*PROFILES, "ps", "--services").split()):
        ids = compose(*PROFILES, "ps", "-q", capable).split()
        added = json.loads(inspect(ids[0], "{{json .HostConfig.CapAdd}}")) if ids else None
        if added and (capable, added) != ("router", ["NET_ADMIN"]):
            raise Wrong(f"{capable} has {added}")
    memory = run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
    for line in sorted(memory.splitlines()):
        owner, used = line.split()[:2]
        figure(f"memory of {owner.removeprefix(PROJECT).strip('_-')}", used)


def _body_rate(service: str, host: str) -> float:
    """Bytes per second of a large photo, as a phone, from the body's first byte to its last."""
    told = inside(
        service, "curl", "-sSf", "--cacert", "/home/browser/ca.pem", "-A", PHONE, "-o", "/dev/null",
        "-w", "%{size_download} %{time_starttransfer} %{time_total}",
        f"https://{host}/photo-large.jpg",
    )  # fmt: skip
    size, first, last = map(float, told.split())
    return size / max(last - first, 0.001)
