"""How .ci/compose looks at the profile `fleet`: three proxies as one, one of them killed, five.

Rule: what a crowd of twelve gets is told by the crowd itself, four times a second, by this
machine's clock; who is there is told by the page that each proxy has for all.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from compose_looks import confined_all, screenshot
from compose_tools import (
    Wrong,
    all_well,
    compose,
    container,
    containers,
    figure,
    inspect,
    run,
    until,
)

CROWD_EVERY_S = 0.25
LIMIT = 1.0
"""Mbit/s, for all together, in docker/fleet/policy.yaml"""
PEOPLE = 12
_LINE = re.compile(r"^([\d.]+) ([\d.]+) Mbit/s, (\d+) videos under way, (\d+) were broken$", re.M)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the crowd got in the quarter of a second before `time`."""

    time: float
    rate: float
    under_way: int
    broken: int


def fleet() -> None:
    os.environ["CROWD_EVERY_S"] = str(CROWD_EVERY_S)
    began = time.monotonic()
    compose("--profile", "fleet", "up", "-d")
    all_well("fleet-store", "fleet-proxy", "fleet-balancer", "fleet-prometheus", "door-fleet")
    figure("fleet: from `up` to three proxies behind a balancer", time.monotonic() - began, "s")
    services = ("store", "proxy", "balancer", "crowd", "prometheus")
    confined_all([each for name in services for each in containers(f"fleet-{name}")])
    until("three proxies seen as one", lambda: len(_members()) == 3, 20)
    _all_together()
    _one_killed()
    _more_of_them()
    screenshot(f"http://127.0.0.1:{os.environ['FLEET_LIVE_PORT']}/", "compose-fleet.png")
    # Nobody needs them any more, and the rest should not be slowed by them.
    compose("--profile", "fleet", "rm", "--force", "--stop", "fleet-crowd", "fleet-proxy")
    figure("fleet: all of it took", time.monotonic() - began, "s")


def _all_together() -> None:
    """Twelve through three proxies get what the policy gives to all, and are known by their own
    address behind the balancer."""
    until("all of the crowd under way", lambda: _crowd()[-1].under_way == PEOPLE, 20)
    for _ in range(3):  # on a busy machine a piece may be late, never early
        time.sleep(5)
        rate = _mean(_crowd(), time.time() - 4, time.time())
        if abs(rate / LIMIT - 1) <= 0.05:
            break
    figure("fleet: twelve through three proxies, at 1 Mbit/s in all", rate, "Mbit/s")
    if abs(rate / LIMIT - 1) > 0.05:
        raise Wrong(f"twelve have {rate:.3f} Mbit/s together instead of {LIMIT}")
    state = _state()
    spread = sorted(member["active"] for member in state["store"]["members"])
    figure("fleet: how the balancer has spread them", "/".join(map(str, spread)))
    if sum(spread) != PEOPLE or not state["store"]["same_policy"]:
        raise Wrong(f"the live page shows {state['store']}")
    if addresses := {client["address"] for client in state["clients"]} - {"198.18.10.32"}:
        raise Wrong(f"a client behind the balancer is known as {addresses}")


def _one_killed() -> None:
    """One proxy dies: those of the others go on, its part is theirs, and it comes back."""
    victim = next(each for each in _members() if not each["this"] and each["active"])
    name = victim["name"].partition(":")[0]
    pid = int(inspect(name, "{{.State.Pid}}"))
    broken = _crowd()[-1].broken
    at = time.time()
    os.kill(pid, 9)
    time.sleep(4)
    crowd = _crowd()
    since = [each for each in crowd if each.time > at + CROWD_EVERY_S]
    full = (each.time for each in since[3:] if _mean(crowd, each.time - 1, each.time) >= 0.95)
    back = next((end - 1 - at for end in full), None)
    figure("fleet: all of the rate in use again after a proxy's death",
           "never" if back is None else max(0.0, back), "s")  # fmt: skip
    if back is None or back > 2:
        rates = " ".join(f"{each.rate:.2f}" for each in since)
        raise Wrong(f"the part of the proxy that was killed is not back within 2 s: {rates}")
    most = max(_mean(crowd, each.time - 2, each.time) for each in since)
    figure("fleet: the fullest two seconds around it, over the limit", most / LIMIT)
    if most > 1.1 * LIMIT:
        raise Wrong(f"after a proxy's death there is more than the limit: {most:.3f} Mbit/s")
    cut = since[-1].broken - broken
    figure("fleet: videos that were cut, of those that went through it",
           f"{cut} of {victim['active']}")  # fmt: skip
    # What it had was told up to two seconds ago, and somebody may have come meanwhile.
    if not 0 < cut <= victim["active"] + 2:
        raise Wrong(f"{cut} videos were cut, {victim['active']} went through the proxy that died")
    until("it is started again", lambda: inspect(name, "{{.RestartCount}}") == "1", 20)
    until("three proxies again", lambda: _there() == 3 and len(_members()) == 3, 40)
    figure("fleet: from its death to being one of three again", time.time() - at, "s")


def _more_of_them() -> None:
    """`--scale`: found by the balancer, by Prometheus and by each other."""
    began = time.monotonic()
    compose("--profile", "fleet", "up", "-d", "--no-recreate", "--scale", "fleet-proxy=5",
            "fleet-proxy")  # fmt: skip
    until("five proxies seen as one", lambda: len(_members()) == 5, 40)
    until("five proxies behind the balancer", lambda: _there() == 5, 20)
    until("Prometheus reads five", lambda: _asked('sum(up{job="mitmthrottle"})') == 5, 20)
    figure("fleet: from `--scale fleet-proxy=5` to all five in use", time.monotonic() - began, "s")


def _members() -> list[dict[str, Any]]:
    """Those that speak; none while the page does not answer."""
    try:
        members = _state()["store"]["members"] or []
    except (OSError, ValueError):
        return []
    return [member for member in members if member["silent_s"] is None]


def _state() -> Any:
    url = f"http://127.0.0.1:{os.environ['FLEET_LIVE_PORT']}/api/state"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def _there() -> float:
    """Proxies that the balancer would give a connection to."""
    return _asked('sum(haproxy_server_status{proxy="proxies",state="UP"})')


def _asked(query: str) -> float:
    """What Prometheus answers; 0 where it has nothing to say."""
    port = os.environ["FLEET_PROMETHEUS_PORT"]
    url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
    except urllib.error.URLError:
        return 0.0
    return float(result[0]["value"][1]) if result else 0.0


def _crowd() -> list[Sample]:
    said = run("docker", "logs", "--tail", "200", container("fleet-crowd"))
    found = [
        Sample(float(at), float(rate), int(under_way), int(broken))
        for at, rate, under_way, broken in _LINE.findall(said)
    ]
    return found or [Sample(0.0, 0.0, 0, 0)]


def _mean(samples: list[Sample], since: float, to: float) -> float:
    """Mbit/s of those that lie between."""
    rates = [each.rate for each in samples if since + CROWD_EVERY_S / 2 < each.time <= to]
    return sum(rates) / len(rates) if rates else 0.0
