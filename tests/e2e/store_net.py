"""A fleet in network namespaces: proxies, a store, and a hub where clients and the origin are.

    hub 198.18.9.1 -- bridge -- store 198.18.9.2
                            +-- proxy n 198.18.9.(10 + n)

Rule: nothing of the machine's own network is touched, and everything is gone at the end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from mitmthrottle.lab.netns import inside

HUB = "198.18.9.1"
STORE = "198.18.9.2"


def proxy_address(number: int) -> str:
    return f"198.18.9.{10 + number}"


@dataclass(frozen=True, slots=True)
class FleetNet:
    """The names of the namespaces."""

    hub: str
    store: str
    proxies: tuple[str, ...]

    def cut_off(self, number: int) -> None:
        """Drop every packet between this proxy and the store, both ways."""
        _nft(
            self.proxies[number],
            "table ip cut {\n"
            f"chain out {{ type filter hook output priority 0;\nip daddr {STORE} drop; }}\n"
            f"chain in {{ type filter hook input priority 0;\nip saddr {STORE} drop; }}\n"
            "}\n",
        )

    def rejoin(self, number: int) -> None:
        _nft(self.proxies[number], "delete table ip cut\n")


@contextlib.contextmanager
def fleet_net(proxies: int) -> Iterator[FleetNet]:
    """Make them for so many proxies. Needs root."""
    tag = f"mts{os.getpid()}"
    net = FleetNet(f"{tag}-hub", f"{tag}-store", tuple(f"{tag}-p{n}" for n in range(proxies)))
    try:
        _ip("netns", "add", net.hub)
        _ip("-n", net.hub, "link", "set", "lo", "up")
        _ip("-n", net.hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", net.hub, "addr", "add", f"{HUB}/24", "dev", "bridge")
        _ip("-n", net.hub, "link", "set", "bridge", "up")
        ends = [(net.store, STORE)]
        ends += [(name, proxy_address(n)) for n, name in enumerate(net.proxies)]
        for number, (name, address) in enumerate(ends):
            port = f"port{number}"
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", net.hub, "link", "add", port, "type", "veth",
                "peer", "name", "hub", "netns", name)  # fmt: skip
            _ip("-n", net.hub, "link", "set", port, "master", "bridge")
            _ip("-n", net.hub, "link", "set", port, "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "hub")
            _ip("-n", name, "link", "set", "hub", "up")
        yield net
    finally:
        for name in (*net.proxies, net.store, net.hub):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def _nft(namespace: str, rules: str) -> None:
    with inside(namespace):
        done = subprocess.run(
            ["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
