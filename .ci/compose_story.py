"""What .ci/compose does once there is an engine: the demo's life, from its files to its end.

Rule: everything by the commands that docs/docker.md gives; each step says what it found, the first
that finds something wrong ends the run with status 1, and the demo is taken down in any case.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from compose_fleet import fleet
from compose_looks import confined, seen_and_used, transparent
from compose_tools import (
    ARTIFACTS,
    CA,
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

WORK = Path(sys.argv[1])
POLICY = "twitter-2021.yaml"
PORTS = (
    "BROWSER_PORT",
    "LIVE_PORT",
    "PROMETHEUS_PORT",
    "TRANSPARENT_BROWSER_PORT",
    "TRANSPARENT_LIVE_PORT",
    "FLEET_LIVE_PORT",
    "FLEET_PROMETHEUS_PORT",
)
TRIES = 3
BUILT = {
    "origin": "mitmthrottle-demo-site",
    "proxy": "mitmthrottle",
    "browser": "mitmthrottle-demo-browser",
    "prometheus": "mitmthrottle-demo-prometheus",
    "router": "mitmthrottle-demo-router",
    "fleet-store": "mitmthrottle-demo-fleet",
}
"""A service for each image, so that none is built twice at a time."""


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
        built,
        valid_for_both_composes,
        started,
        confined,
        checked,
        policy_followed,
        seen_and_used,
        killed_and_back,
        transparent,
        fleet,
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


def built() -> None:
    """All at once: while one fetches another unpacks."""
    began = time.monotonic()
    newer = subprocess.Popen(
        ["docker", "build", "--quiet", "--tag", "compose-v2", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    # The program alone: the package's dependencies would bring an engine.
    dockerfile = (
        "FROM debian:trixie-slim\n"
        "RUN apt-get update && cd /tmp && apt-get download docker-compose && dpkg -x *.deb /\n"
    )
    try:
        if newer.stdin is not None:
            newer.stdin.write(dockerfile)
            newer.stdin.close()
            newer.stdin = None
        compose(*PROFILES, "build", "--parallel", *BUILT, timeout_s=900)
        _, complaint = newer.communicate(timeout=COMMAND_S)
    finally:
        newer.kill()
    if newer.returncode:
        raise Wrong(f"the image with the newer compose is not built: {complaint}")
    figure("building all images", time.monotonic() - began, "s")
    for image in ("debian:trixie-slim", *BUILT.values()):
        size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))
        figure(f"image {image}", size / 1e6, "MB")


def valid_for_both_composes() -> None:
    """Compose 1.29 is on this machine if it is Debian 12, version 2 is in Debian 13."""
    ours = set(compose(*PROFILES, "config", "--services").split())
    print(compose("version", "--short").strip(), "reads the file:", *sorted(ours))
    newer = ("docker", "run", "--rm", "--network", "none", "-v", f"{ROOT}:/demo:ro", "-w", "/demo")
    newer += ("compose-v2", "docker-compose")
    theirs = set(run(*newer, *PROFILES, "config", "--services").split())
    version = run(*newer, "version", "--short").strip()
    if ours != theirs:
        raise Wrong(f"compose {version} sees other services: {sorted(theirs ^ ours)}")
    run(*newer, *PROFILES, "config", "--quiet")
    print(version, "reads the same")


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


def checked() -> None:
    """The profile `headless`: its exit status tells. On a busy machine a piece may be late."""
    for attempt in range(TRIES):
        try:
            print(compose("--profile", "headless", "run", "--rm", "checks", timeout_s=120).rstrip())
            return
        except Wrong as wrong:
            if attempt == TRIES - 1:
                raise
            print(f"again, since: {wrong}")


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
