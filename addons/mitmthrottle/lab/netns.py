"""Three network namespaces: a client that knows nothing, a router that sends what passes it to a
proxy, an origin.

    client 198.18.0.2 -- 198.18.0.1 router 198.18.1.1 -- 198.18.1.2 origin
           2001:2:0:1::2      2001:2:0:1::1 / 2001:2:0:2::1      2001:2:0:2::2

Rule: nothing of the machine's own network is touched; the addresses are those set aside for
benchmarks (RFC 2544, RFC 5180), and everything is gone at the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROXY_PORT = 8080
CLIENT = ("198.18.0.2", "2001:2:0:1::2")
ORIGIN = ("198.18.1.2", "2001:2:0:2::2")
_ROUTER_AT_CLIENT = ("198.18.0.1", "2001:2:0:1::1")
_ROUTER_AT_ORIGIN = ("198.18.1.1", "2001:2:0:2::1")

_NAMESPACES = Path("/run/netns")
_ETC = Path("/etc/netns")

# As deploy/router/redirect.nft, but for all of TCP and not only the web's ports.
_RULES = f"""
table inet mitmthrottle {{
    chain to_proxy {{
        type nat hook prerouting priority dstnat;
        iifname "client" meta l4proto tcp fib daddr type != local redirect to :{PROXY_PORT}
    }}
    chain refuse_quic {{
        type filter hook forward priority filter;
        iifname "client" udp dport 443 reject
    }}
}}
"""


class NoNamespaces(RuntimeError):
    """They cannot be had: not root, no `ip` or `nft`, or they exist already."""


@dataclass(frozen=True, slots=True)
class Net:
    """The names of three namespaces that exist."""

    client: str
    router: str
    origin: str

    @property
    def at_client(self) -> tuple[str, ...]:
        """What to put before a command to run it on the client, with the lab's host names."""
        return ("ip", "netns", "exec", self.client)


def names(tag: str) -> Net:
    """What the namespaces of a lab are called."""
    return Net(f"{tag}-client", f"{tag}-router", f"{tag}-origin")


@contextlib.contextmanager
def built(tag: str, hosts: Sequence[str], *, routes: bool = True) -> Iterator[Net]:
    """Make the namespaces, and remove them at the end of the block.

    `tag` (letters and digits) begins their names, so that several labs can be there at once.
    `hosts` are the names that the client's /etc/hosts has for the origin, all of the same two
    addresses. Without `routes`, what is between them has the addresses of a router and does
    nothing of what one does. Raises NoNamespaces.
    """
    if os.geteuid() != 0:
        raise NoNamespaces("network namespaces need root: sudo make lab")
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            raise NoNamespaces(f"{program} is not installed; on Debian: apt-get install {package}")
    net = names(tag)
    if any((_NAMESPACES / name).exists() for name in (net.client, net.router, net.origin)):
        raise NoNamespaces(f"the namespaces of `{tag}` exist already: make lab-down")
    try:
        _make(net)
        if routes:
            _route(net)
        etc = _ETC / net.client
        etc.mkdir(parents=True)
        lines = [f"{address} {' '.join(hosts)}" for address in ORIGIN]
        (etc / "hosts").write_text("\n".join(["127.0.0.1 localhost", "::1 localhost", *lines, ""]))
        yield net
    finally:
        remove(tag)


def remove(tag: str) -> None:
    """Remove the namespaces, whatever there is of them."""
    net = names(tag)
    for name in (net.client, net.router, net.origin):
        if (_NAMESPACES / name).exists():
            _run("ip", "netns", "del", name)
    shutil.rmtree(_ETC / net.client, ignore_errors=True)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run the block inside a namespace: this thread, and what it starts there.

    Sockets, threads and processes that are made in the block stay in the namespace.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(_NAMESPACES / namespace, os.O_RDONLY)
    try:
        os.setns(there, os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(own, os.CLONE_NEWNET)
    finally:
        os.close(own)
        os.close(there)


def _make(net: Net) -> None:
    for name in (net.client, net.router, net.origin):
        _run("ip", "netns", "add", name)
        with inside(name):
            # An address that comes a second later is a change of network to a browser.
            Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        _run("ip", "-n", name, "link", "set", "lo", "up")
    for far, device, near_addresses, far_addresses in (
        (net.client, "client", _ROUTER_AT_CLIENT, CLIENT),
        (net.origin, "origin", _ROUTER_AT_ORIGIN, ORIGIN),
    ):
        _run("ip", "-n", net.router, "link", "add", device, "type", "veth",
             "peer", "name", "router", "netns", far)  # fmt: skip
        for namespace, end, addresses in (
            (net.router, device, near_addresses),
            (far, "router", far_addresses),
        ):
            for address, bits in zip(addresses, (24, 64), strict=True):
                _run("ip", "-n", namespace, "addr", "add", f"{address}/{bits}", "dev", end)
            _run("ip", "-n", namespace, "link", "set", end, "up")
        for gateway in near_addresses:
            family = "-6" if ":" in gateway else "-4"
            _run("ip", family, "-n", far, "route", "add", "default", "via", gateway)


def _route(net: Net) -> None:
    with inside(net.router):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        _run("nft", "-f", "-", stdin=_RULES)


def _run(*command: str, stdin: str | None = None) -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNamespaces(f"`{' '.join(command)}`: {done.stderr.strip()}")
