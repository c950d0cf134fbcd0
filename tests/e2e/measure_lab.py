"""A server and a client in network namespaces of their own, with links that are open, shaped by tc
tbf, or policed by nftables, and nginx on the server.

Rule: addresses are those set aside for benches (198.18.0.0/15); both namespaces are gone at the
end, and nothing of the machine's own network is touched.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RATE_BITS_PER_S = 4_000_000
LIMIT_BYTES_PER_S = 500_000
PORT = 8080
LINKS = {"open": "198.18.40", "shaped": "198.18.41", "policed": "198.18.42"}

CONF = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen {port};
        location / {{ root {folder}/www; }}
        location /limited/ {{ alias {folder}/www/; limit_rate {limit}; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Links:
    """What to put before a command to run it on the client, and where nginx is."""

    at_client: tuple[str, ...]

    def url(self, link: str, path: str = "/big") -> str:
        return f"http://{LINKS[link]}.1:{PORT}{path}"


@contextlib.contextmanager
def links(folder: Path) -> Iterator[Links]:
    """Make them; needs root."""
    tag = os.getpid() % 100_000
    server, client = f"measure-s{tag}", f"measure-c{tag}"
    try:
        for name in (server, client):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        for number, (link, network) in enumerate(LINKS.items()):
            near, far = f"s{number}", f"c{number}"
            _run("ip", "-n", server, "link", "add", near, "type", "veth", "peer", "name", far,
                 "netns", client)  # fmt: skip
            for name, device, last in ((server, near, 1), (client, far, 2)):
                # One packet is one packet: a shaper of super-packets would send nothing else.
                _run("ip", "-n", name, "link", "set", device, "gso_max_segs", "1")
                _run("ip", "-n", name, "addr", "add", f"{network}.{last}/24", "dev", device)
                _run("ip", "-n", name, "link", "set", device, "up")
            at_server = ("ip", "netns", "exec", server, "tc")
            rate = f"{RATE_BITS_PER_S}bit"
            if link == "shaped":
                _run(*at_server, "qdisc", "add", "dev", near, "root", "tbf", "rate", rate,
                     "burst", "6kb", "limit", "60kb")  # fmt: skip
            elif link == "policed":
                # As `tc police`, of which many kernels have no module: what exceeds is dropped.
                _run("ip", "netns", "exec", client, "nft",
                     "table netdev policer { chain in { type filter hook ingress device "
                     f"{far} priority 0; limit rate over {RATE_BITS_PER_S // 8 // 1000} "
                     "kbytes/second burst 30 kbytes drop\n}\n}")  # fmt: skip
        with _nginx(folder, server):
            yield Links(("ip", "netns", "exec", client))
    finally:
        for name in (server, client):
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def _nginx(folder: Path, namespace: str) -> Iterator[None]:
    (folder / "www").mkdir()
    with (folder / "www" / "big").open("wb") as file:
        file.truncate(20_000_000)
    conf = folder / "nginx.conf"
    conf.write_text(CONF.format(folder=folder, port=PORT, limit=LIMIT_BYTES_PER_S))
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "nginx", "-p", str(folder), "-c", str(conf)]
    )
    try:
        deadline = time.monotonic() + 10
        while not (folder / "pid").exists():
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
