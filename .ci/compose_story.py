"""What .ci/compose does once there is an engine: the demo's life, from its files to its end.

Rule: everything by the commands that docs/docker.md gives; each step says what it found, the first
that finds something wrong ends the run with status 1, and the demo is taken down in any case.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from compose_tools import (
    COMMAND_S,
    PROFILES,
    PROJECT,
    ROOT,
    Wrong,
    all_well,
    compose,
    container,
    figure,
    free_ports,
    inside,
    inspect,
    replace,
    run,
    until,
)
from playwright.sync_api import sync_playwright

WORK = Path(sys.argv[1])
ARTIFACTS = Path(os.environ.get("MITMTHROTTLE_ARTIFACTS", WORK / "artifacts"))
POLICY = "twitter-2021.yaml"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile"
SLOW_BYTES_PER_S = 16_000
PORTS = (
    "BROWSER_PORT",
    "LIVE_PORT",
    "PROMETHEUS_PORT",
    "TRANSPARENT_BROWSER_PORT",
    "TRANSPARENT_LIVE_PORT",
)
CA = "/home/mitmthrottle/.mitmproxy"


def main() -> int:
    policies = WORK / "policies"
    shutil.copytree(ROOT / "policies", policies)
    for path in [policies, *policies.rglob("*")]:  # whatever the umask here is
        path.chmod(0o755 if path.is_dir() else 0o644)
    os.environ["POLICIES"] = str(policies)
    for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
        os.environ[name] = str(port)
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    steps = (
        valid_for_both_composes,
        built,
        started,
        confined,
        checked,
        policy_followed,
        seen,
        killed_and_back,
        transparent,
        image_alone,
    )
    try:
        for step in steps:
            print(f"-- {step.__name__.replace('_', ' ')}")
            step()
    except Wrong as wrong:
        print(f"NOT OK: {wrong}")
        print(compose(*PROFILES, "ps", check=False))
        print(compose(*PROFILES, "logs", "--no-color", "--tail", "15", check=False))
        return 1
    finally:
        compose(*PROFILES, "down", "--volumes", "--timeout", "3", check=False)
    label = f"label=com.docker.compose.project={PROJECT}"
    for kind in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        if left := run("docker", *kind, "--quiet", "--filter", label).split():
            print(f"NOT OK: `down` leaves {' '.join(kind)}: {left}")
            return 1
    figure("all of it took", time.monotonic() - began, "s")
    print(f"{len(steps)} passed, 0 failed")
    return 0


def valid_for_both_composes() -> None:
    """Compose 1.29 is on this machine if it is Debian 12, version 2 is in Debian 13."""
    ours = set(compose(*PROFILES, "config", "--services").split())
    print(compose("version", "--short").strip(), "reads the file:", *sorted(ours))
    dockerfile = (
        "FROM debian:trixie-slim\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends docker-compose\n"
    )
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", "compose-v2", "-"],
        input=dockerfile, text=True, check=True, capture_output=True, timeout=COMMAND_S,
    )  # fmt: skip
    newer = ("docker", "run", "--rm", "--network", "none", "-v", f"{ROOT}:/demo:ro", "-w", "/demo")
    newer += ("compose-v2", "docker-compose")
    theirs = set(run(*newer, *PROFILES, "config", "--services").split())
    version = run(*newer, "version", "--short").strip()
    if ours != theirs:
        raise Wrong(f"compose {version} sees other services: {sorted(theirs ^ ours)}")
    run(*newer, *PROFILES, "config", "--quiet")
    print(version, "reads the same")


def built() -> None:
    began = time.monotonic()
    compose(*PROFILES, "build")
    figure("building all images", time.monotonic() - began, "s")
    for image in ("debian:trixie-slim", "mitmthrottle", *(f"mitmthrottle-demo-{name}" for name in
                  ("site", "browser", "prometheus", "router"))):  # fmt: skip
        size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))
        figure(f"image {image}", size / 1e6, "MB")


def started() -> None:
    began = time.time()
    compose("up", "-d")
    all_well("origin", "control", "proxy", "browser", "prometheus", "door")
    figure("from `up` to everything healthy", time.time() - began, "s")
    # The start page fetches it by itself; mitmdump writes its line when it is through.
    log: list[str] = []

    def there() -> bool:
        lines = run("docker", "logs", "--timestamps", container("proxy")).splitlines()
        log[:] = [line for line in lines if "GET https://pbs.twimg.com/photo.jpg" in line]
        return bool(log)

    until("a slowed photo", there, 40)
    at = run("date", "--date", log[0].split()[0], "+%s.%N")
    figure("from `up` to the first slowed photo in the browser", float(at) - began, "s")


def confined() -> None:
    """No root, no capability, nothing to write to, no port for others, no way out, no key out."""
    ids = compose("ps", "-q").split()
    for name in ids:
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
    print(f"{len(ids)} containers: no root, no capabilities, read-only, 127.0.0.1 only, no way out")


def checked() -> None:
    """The profile `headless`: its exit status tells."""
    print(compose("--profile", "headless", "run", "--rm", "checks", timeout_s=120).rstrip())


def policy_followed() -> None:
    """The policy is changed on the host, as an editor does it, while a video comes."""
    path = WORK / "policies" / POLICY
    old = path.read_text()
    following = subprocess.Popen(
        ["docker-compose", "-p", PROJECT, "--profile", "headless", "run", "--rm", "-T",
         "--entrypoint", "python", "checks", "/checks/follow.py"],
        cwd=ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    for line in following.stdout or ():
        if line.strip() == "under way":
            replace(path, old.replace("128 kbit/s", "512 kbit/s"))
            break
    said, complaint = following.communicate(timeout=60)
    print(said.strip())
    if following.returncode:
        raise Wrong(f"a change of the policy is not followed: {said}{complaint}")

    replace(path, old.replace("rate:", "rates:"))
    name = container("proxy")

    def reported() -> bool:
        said = run("docker", "logs", "--tail", "50", name)
        return f"{POLICY}:" in said and "`rates`" in said

    until("a broken policy is reported", reported, 5)
    replace(path, old)


def seen() -> None:
    """Screenshots of both pages while the browser fetches, and what is on them."""
    run("docker", "restart", "--time", "1", container("browser"))
    all_well("browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ["CHROMIUM"],
            chromium_sandbox=os.geteuid() != 0,
            args=["--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        pages = {}
        for name in ("BROWSER_PORT", "LIVE_PORT"):
            pages[name] = browser.new_page(viewport={"width": 1300, "height": 880})
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
        browser.close()
    if colours < 50:
        raise Wrong(f"the browser's screen shows {colours} colours: it is blank")
    if "photos and videos on half of the desktops" not in live:
        raise Wrong(f"the live page does not show the rule: {live[:300]!r}")
    if title := _title_in("browser"):
        print(f"the browser shows: {title}")


def _title_in(service: str) -> str:
    """The title of the page that Chromium shows; Wrong if it is not the start page."""
    tabs = json.loads(inside(service, "curl", "-s", "http://127.0.0.1:9222/json"))
    shown = [tab["title"] for tab in tabs if tab["url"].startswith("https://start.example/")]
    if not shown or "mitmthrottle" not in shown[0]:
        raise Wrong(f"{service} does not show the start page: {tabs}")
    return str(shown[0])


def killed_and_back() -> None:
    """The proxy dies, and is made anew: the authority stays the one that the browser trusts."""
    name, before = container("proxy"), _authority()
    os.kill(int(inspect(name, "{{.State.Pid}}")), 9)
    until("it is gone", lambda: inspect(name, "{{.RestartCount}}") == "1", 10)
    took = until(
        "healthy again", lambda: inspect(name, "{{.State.Health.Status}}") == "healthy", 40
    )
    figure("from the proxy's death to healthy", took, "s")
    if _authority() != before:
        raise Wrong("the proxy has another authority after its death")
    began = time.monotonic()
    compose("stop", "proxy")
    took = time.monotonic() - began
    figure("stopping the proxy", took, "s")
    if (status := inspect(name, "{{.State.ExitCode}}")) != "0" or took > 8:
        raise Wrong(f"the proxy does not heed SIGTERM: status {status} after {took:.1f} s")
    compose("up", "-d", "--no-deps", "--force-recreate", "proxy")
    all_well("proxy")
    if _authority() != before:
        raise Wrong("a new container of the proxy has another authority")
    checked()


def _authority() -> str:
    return inside("proxy", "cat", f"{CA}/mitmproxy-ca-cert.pem")


def transparent() -> None:
    """A browser that knows of no proxy is slowed all the same."""
    compose("--profile", "transparent", "up", "-d")
    all_well("router", "proxy-transparent", "browser-transparent", "door-transparent")
    name = "browser-transparent"
    environment = inspect(container(name), "{{json .Config.Env}}")
    command = inside(name, "sh", "-c", "tr '\\0' ' ' </proc/[0-9]*/cmdline 2>/dev/null || true")
    if "--proxy-server" in command or "http://proxy" in environment:
        raise Wrong("the transparent profile's browser has a proxy setting")
    fetch = ("curl", "-sS", "--cacert", "/home/browser/ca.pem", "-A", PHONE, "-o", "/dev/null",
             "-w", "%{speed_download} %{http_code}")  # fmt: skip
    slowed, status = inside(name, *fetch, "https://pbs.twimg.com/photo-large.jpg").split()
    free, _ = inside(name, *fetch, "https://example.org/photo-large.jpg").split()
    figure("transparent: a photo at 128 kbit/s came at", float(slowed) * 8 / 1000, "kbit/s")
    figure("transparent: the same of the control", float(free) * 8 / 1e6, "Mbit/s")
    if status != "200" or abs(float(slowed) / SLOW_BYTES_PER_S - 1) > 0.05:
        raise Wrong(f"status {status}, {slowed} B/s instead of {SLOW_BYTES_PER_S}")
    if float(free) < 5 * SLOW_BYTES_PER_S:
        raise Wrong(f"the control is slowed too: {free} B/s")
    for address in ("198.18.10.10:81", "198.18.10.3:8080"):
        status = inside(name, "sh", "-c", f"curl -s --max-time 3 http://{address}/; echo $?")
        if status.endswith("0\n"):
            raise Wrong(f"the router lets through to {address}")
    print(f"the browser without a proxy setting shows: {_title_in(name)}")
    for capable in (line for line in compose(*PROFILES, "ps", "--services").split()):
        ids = compose(*PROFILES, "ps", "-q", capable).split()
        added = json.loads(inspect(ids[0], "{{json .HostConfig.CapAdd}}")) if ids else None
        if added and (capable, added) != ("router", ["NET_ADMIN"]):
            raise Wrong(f"{capable} has {added}")
    memory = run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
    for line in sorted(memory.splitlines()):
        owner, used = line.split()[:2]
        figure(f"memory of {owner.removeprefix(PROJECT).strip('_-')}", used)


def image_alone() -> None:
    """`docker run IMAGE run twitter-2021`: healthy, and ended by a signal although it is PID 1."""
    name = "mitmthrottle-alone"
    run("docker", "run", "--rm", "--detach", "--name", name, "--read-only", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", "--network=none", "--health-interval=1s",
        "mitmthrottle", "run", "twitter-2021")  # fmt: skip
    try:
        health = "{{.State.Health.Status}}"
        took = until("the image by itself well", lambda: inspect(name, health) == "healthy", 40)
        figure("docker run to healthy", took, "s")
        began = time.monotonic()
        run("docker", "stop", "--time", "20", name)
        figure("docker stop", time.monotonic() - began, "s")
        if time.monotonic() - began > 10:
            raise Wrong("the image's first process does not heed SIGTERM")
    finally:
        run("docker", "rm", "--force", "--volumes", name, check=False)


if __name__ == "__main__":
    sys.exit(main())
