"""The commands of .ci/compose_story.py: the engine's and compose's, with their faults as sentences.

Rule: whatever fails or takes too long raises Wrong, which says which command and what it said.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROFILES = ("--profile", "transparent", "--profile", "fleet", "--profile", "headless")
PROJECT = "mitmthrottle-demo"
COMMAND_S = 400.0
CA = "/home/mitmthrottle/.mitmproxy"
"""in the proxy's container"""
ARTIFACTS = Path(os.environ.get("MITMTHROTTLE_ARTIFACTS") or "build/compose")
"""where the screenshots go"""


class Wrong(Exception):
    """Something is not as it should be; the message is the whole story."""


def run(*command: str, timeout_s: float = COMMAND_S, check: bool = True) -> str:
    """What a command prints. Wrong with its last lines if it fails."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise Wrong(f"`{' '.join(command)}` takes more than {timeout_s:.0f} s") from None
    if check and done.returncode:
        tail = (done.stdout + done.stderr).strip().splitlines()[-25:]
        raise Wrong("\n".join([f"`{' '.join(command)}`: status {done.returncode}", *tail]))
    return done.stdout


def compose(*arguments: str, timeout_s: float = COMMAND_S, check: bool = True) -> str:
    return run("docker-compose", "-p", PROJECT, *arguments, timeout_s=timeout_s, check=check)


def inspect(name: str, template: str) -> str:
    return run("docker", "inspect", "--format", template, name).strip()


def containers(service: str) -> list[str]:
    """As compose's own `ps`, which takes a second each time."""
    labels = (f"project={PROJECT}", f"service={service}", "oneoff=False")
    filters = [
        each for label in labels for each in ("--filter", f"label=com.docker.compose.{label}")
    ]
    return run("docker", "ps", "--all", "--quiet", *filters).split()


def container(service: str) -> str:
    ids = containers(service)
    if len(ids) != 1:
        raise Wrong(f"{len(ids)} containers of the service {service} instead of one")
    return ids[0]


def inside(service: str, *command: str) -> str:
    return run("docker", "exec", container(service), *command)


def figure(name: str, value: float | str, unit: str = "") -> None:
    shown = f"{value:.4g}" if isinstance(value, float) else value
    print(f"figure: compose, {name} {shown} {unit}".rstrip())


def until(what: str, holds: Callable[[], bool], within_s: float) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > within_s:
            raise Wrong(f"{what}: not within {within_s:.0f} s")
        time.sleep(0.2)
    return time.monotonic() - began


def all_well(*services: str) -> None:
    for service in services:
        for name in containers(service):
            until(
                f"{service} healthy",
                lambda: inspect(name, "{{.State.Health.Status}}") == "healthy",  # noqa: B023
                60,
            )


def replace(path: Path, text: str) -> None:
    part = path.with_name("part")
    part.write_text(text)
    part.chmod(0o644)
    part.replace(path)


def free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
