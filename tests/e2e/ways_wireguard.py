"""A WireGuard client in a network namespace: wireguard-go, so that no kernel module is needed.

Rule: only what goes to `FAR` takes the tunnel; the process, and with it the device, ends with the
block.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mitmproxy_rs

from mitmthrottle.lab.netns import Net, inside

PORT = 51820
FAR = "198.18.2.2"  # a further address of the origin
_START_S = 10.0


def make_keys(folder: Path) -> Path:
    """What mitmproxy's `--mode wireguard:PATH` reads."""
    genkey = mitmproxy_rs.wireguard.genkey
    path = folder / "wireguard.conf"
    path.write_text(json.dumps({"server_key": genkey(), "client_key": genkey()}))
    return path


@contextlib.contextmanager
def tunnelled(net: Net, keys: Path) -> Iterator[None]:
    """The client's tunnel to the router."""
    read = json.loads(keys.read_text())
    key_file = keys.with_suffix(".key")
    key_file.write_text(read["client_key"])
    device = f"wg{os.getpid()}"  # its control socket is in a folder that all namespaces share
    with inside(net.client):
        process = subprocess.Popen(
            ["wireguard-go", "-f", device],
            env={**os.environ, "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + _START_S
            while not Path(f"/var/run/wireguard/{device}.sock").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("wireguard-go did not start")
                time.sleep(0.02)
            _run("wg", "set", device, "private-key", str(key_file),
                 "peer", mitmproxy_rs.wireguard.pubkey(read["server_key"]),
                 "endpoint", f"198.18.0.1:{PORT}", "allowed-ips", "0.0.0.0/0")  # fmt: skip
            _run("ip", "addr", "add", "10.0.0.1/32", "dev", device)
            _run("ip", "link", "set", device, "up", "mtu", "1400")
            _run("ip", "route", "add", f"{FAR}/32", "dev", device)
            yield
        finally:
            process.terminate()
            process.wait(5)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
