"""The router's TUN device, of mitmproxy's `--mode tun:NAME`: what goes through it is proxied.

Rule: only what the client sends to `FAR` is routed there.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mitmthrottle.lab.netns import ORIGIN, Net, inside

FAR = "198.18.2.3"  # a further address of the origin
DEVICE = "mitm"  # namespaces keep it apart from others of that name
_TABLE = "77"


@contextlib.contextmanager
def far_address(net: Net, address: str) -> Iterator[None]:
    """The origin has a further address, for which a way of its own can be chosen."""
    _run("ip", "-n", net.origin, "addr", "add", f"{address}/32", "dev", "lo")
    _run("ip", "-n", net.router, "route", "add", f"{address}/32", "via", ORIGIN[0])
    yield


def route_into(net: Net) -> None:
    """To be called once the proxy has made its device.  Ends with the namespaces."""
    run = ("ip", "-n", net.router)
    _run(*run, "link", "set", DEVICE, "up")
    _run(*run, "rule", "add", "iif", "client", "to", FAR, "lookup", _TABLE)
    _run(*run, "route", "add", "default", "dev", DEVICE, "table", _TABLE)
    with inside(net.router):
        for device in ("all", DEVICE):  # its packets come from addresses that are elsewhere
            Path(f"/proc/sys/net/ipv4/conf/{device}/rp_filter").write_text("0")
        # Neither redirected nor refused, as the lab's rules have it for all the rest.
        for chain in ("to_proxy", "refuse_quic"):
            _run("nft", "insert", "rule", "inet", "mitmthrottle", chain, f"ip daddr {FAR} accept")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
