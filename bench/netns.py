"""The kernel's own shaper, `tc tbf`, between two network namespaces that the bench makes.

Rule: nothing of the machine's own network is touched; addresses are those set aside for benches
(198.18.0.0/15), and both namespaces are gone at the end.

A token bucket filter counts packets with their headers, so what reaches the client is 3 to 5 %
less than the rate; users who set one know or learn that.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .plan import Link

PROTOCOLS = ("h1", "h2")
MTU_BYTES = 1514  # with the Ethernet header


@dataclass(frozen=True, slots=True)
class Shaped:
    """A pair of namespaces with a link for each rate and protocol."""

    server: str
    client: str
    rates_bytes_per_s: tuple[int, ...]

    @property
    def at_server(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.server)

    @property
    def at_client(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.client)

    def link(self, rate_bytes_per_s: int, protocol: str, port: int) -> Link:
        """Straight to an origin that listens in the server's namespace."""
        number = 2 * self.rates_bytes_per_s.index(rate_bytes_per_s) + PROTOCOLS.index(protocol)
        address = f"198.18.{number}.1"
        return Link(
            f"tc tbf-{protocol}-{rate_bytes_per_s}", protocol, address, port, address, False
        )


@contextlib.contextmanager
def shaped_links(rates_bytes_per_s: Sequence[int]) -> Iterator[Shaped]:
    """Make the namespaces; needs root."""
    tag = os.getpid() % 100_000
    server, client = f"bench-s{tag}", f"bench-c{tag}"
    try:
        for name in (server, client):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for number, rate in enumerate(rate for rate in rates_bytes_per_s for _ in PROTOCOLS):
            _make_link(server, client, number, rate)
        yield Shaped(server, client, tuple(rates_bytes_per_s))
    finally:
        for name in (server, client):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _make_link(server: str, client: str, number: int, rate_bytes_per_s: int) -> None:
    near, far = f"s{number}", f"c{number}"
    _ip("-n", server, "link", "add", near, "type", "veth", "peer", "name", far, "netns", client)
    for namespace, device, last in ((server, near, 1), (client, far, 2)):
        _ip("-n", namespace, "addr", "add", f"198.18.{number}.{last}/30", "dev", device)
        _ip("-n", namespace, "link", "set", device, "up")
    # The customary settings: a burst of 10 ms of the rate and at least two packets, a queue of
    # 100 ms and at least a hundred packets; with less, slow rates lose packets and TCP falters.
    burst = max(int(rate_bytes_per_s * 0.01), 2 * MTU_BYTES)
    queue = max(int(rate_bytes_per_s * 0.1), 100 * MTU_BYTES)
    subprocess.run(
        ["ip", "netns", "exec", server, "tc", "qdisc", "add", "dev", near, "root", "tbf",
         "rate", f"{rate_bytes_per_s * 8}bit", "burst", str(burst), "limit", str(queue)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
