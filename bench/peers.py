"""The programs that are compared, each as its user would set it up for the same job.

Rule: all relay the same origin and choose the rate by the first part of the path, `/16000/big` for
16,000 bytes/s.  Settings that are not about the rate are the program's own defaults.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmthrottle.lab.proxy import running_proxy

from .origin import Origin, nginx, nginx_head
from .plan import Link
from .programs import free_port, running

HERE = Path(__file__).parent
HOST = "slow.bench.test"
QUIET = ("--set", "flow_detail=0", "--set", "termlog_verbosity=warn", "--set", "ssl_insecure=true")
# Bare mitmdump would hold a whole response back before it passes it on.
STREAM = ("--set", "stream_large_bodies=1")


@dataclass(frozen=True, slots=True)
class Peer:
    """A running program, and how to reach the origin through it."""

    name: str
    pid: int
    h1_port: int
    h2_port: int | None
    proxied: bool  # asked as a proxy; otherwise it stands in the origin's place
    log: Path | None = None

    def link(self, protocol: str, connections: int = 1, host: str = HOST) -> Link:
        port = self.h1_port if protocol == "h1" else self.h2_port
        if port is None:
            raise ValueError(f"{self.name} does not speak {protocol} to its clients")
        name = f"{self.name}-{protocol}-{host}"
        return Link(name, protocol, "127.0.0.1", port, host, self.proxied, connections)

    @property
    def protocols(self) -> tuple[str, ...]:
        return ("h1",) if self.h2_port is None else ("h1", "h2")


def policy_text(rates_bytes_per_s: Sequence[int]) -> str:
    rules = "".join(
        f"  - name: {rate} bytes/s\n"
        f"    when: {{host: {HOST}, path: /{rate}/*}}\n"
        f"    then: {{rate: {rate} B/s}}\n"
        for rate in rates_bytes_per_s
    )
    return f"version: 1\nname: bench\nrules:\n{rules}"


@contextlib.contextmanager
def ours(folder: Path, origin: Origin, policy: str, options: Sequence[str] = ()) -> Iterator[Peer]:
    """mitmdump with mitmthrottle and a policy, given as text."""
    path = folder / "policy.yaml"
    path.write_text(policy)
    with running_proxy(path, options=[*QUIET, *options], resolve=origin.resolve) as proxy:
        yield Peer("mitmthrottle", proxy.pid, proxy.port, proxy.port, True, proxy.log_path)


@contextlib.contextmanager
def bare(folder: Path, origin: Origin, options: Sequence[str] = STREAM) -> Iterator[Peer]:
    """mitmdump without mitmthrottle."""
    with running_proxy(None, options=[*QUIET, *options], resolve=origin.resolve) as proxy:
        yield Peer("mitmdump", proxy.pid, proxy.port, proxy.port, True, proxy.log_path)


@contextlib.contextmanager
def nginx_limit_rate(folder: Path, origin: Origin) -> Iterator[Peer]:
    """nginx as a reverse proxy with `limit_rate`."""
    h1_port, h2_port = free_port(), free_port()
    config = folder / "nginx-peer.conf"
    config.write_text(
        nginx_head(folder / "nginx-peer")
        + f"""
    server {{
        listen 127.0.0.1:{h1_port} backlog=4096;
        listen 127.0.0.1:{h2_port} ssl http2 backlog=4096;
        ssl_certificate {origin.certificate};
        ssl_certificate_key {origin.certificate};
        location ~ ^/(?<rate>[0-9]+)/ {{
            limit_rate $rate;
            proxy_max_temp_file_size 0;
            proxy_pass http://127.0.0.1:{origin.plain_port};
        }}
    }}
}}
"""
    )
    command = [nginx(), "-c", str(config)]
    with running(command, folder / "nginx-peer.log", h1_port) as process:
        yield Peer("nginx limit_rate", process.pid, h1_port, h2_port, False)


@contextlib.contextmanager
def haproxy_bwlim(folder: Path, origin: Origin) -> Iterator[Peer]:
    """HAProxy with `filter bwlim-out`, a limit for each stream over periods of one second."""
    h1_port, h2_port = free_port(), free_port()
    config = folder / "haproxy.cfg"
    config.write_text(
        f"""global
    maxconn 9000
    nbthread 1
defaults
    mode http
    timeout connect 10s
    timeout client 600s
    timeout server 600s
frontend slow
    bind 127.0.0.1:{h1_port}
    bind 127.0.0.1:{h2_port} ssl crt {origin.certificate} alpn h2
    filter bwlim-out each default-limit 1m default-period 1s
    http-request set-var(txn.rate) path,field(2,/)
    http-response set-bandwidth-limit each limit var(txn.rate) period 1s
    default_backend origin
backend origin
    server origin 127.0.0.1:{origin.plain_port}
"""
    )
    command = [haproxy(), "-db", "-f", str(config)]
    with running(command, folder / "haproxy.log", h1_port) as process:
        yield Peer("HAProxy bwlim-out", process.pid, h1_port, h2_port, False)


@contextlib.contextmanager
def squid_delay_pools(
    folder: Path, origin: Origin, rates_bytes_per_s: Sequence[int]
) -> Iterator[Peer]:
    """Squid with a delay pool for each rate.  It speaks no HTTP/2 to its clients."""
    port = free_port()
    own = folder / "squid"
    own.mkdir()
    own.chmod(0o777)  # Squid gives up root for a user of its own
    (own / "hosts").write_text(f"127.0.0.1 {HOST}\n")
    pools = [f"delay_pools {len(rates_bytes_per_s)}"]
    for number, rate in enumerate(rates_bytes_per_s, 1):
        pools += [
            f"acl rate{number} urlpath_regex ^/{rate}/",
            f"delay_class {number} 1",
            f"delay_parameters {number} {rate}/{rate}",
            f"delay_access {number} allow rate{number}",
            f"delay_access {number} deny all",
        ]
    config = own / "squid.conf"
    config.write_text(
        "\n".join(
            [
                f"http_port 127.0.0.1:{port}",
                f"hosts_file {own}/hosts",
                "http_access allow all",
                "cache deny all",
                "access_log none",
                f"cache_log {own}/cache.log",
                f"coredump_dir {own}",
                f"pid_filename {own}/pid",
                "pinger_enable off",
                "shutdown_lifetime 0 seconds",
                # The origin stands behind port 80 of the name, as for the others.
                f"cache_peer 127.0.0.1 parent {origin.plain_port} 0 no-query originserver",
                "never_direct allow all",
                *pools,
                "",
            ]
        )
    )
    command = [shutil.which("squid") or "/usr/sbin/squid", "-N", "-f", str(config)]
    with running(command, folder / "squid.log", port) as process:
        yield Peer("Squid delay_pools", process.pid, port, None, True)


def haproxy() -> str:
    """One that has the filter; see install.sh."""
    for found in (shutil.which("haproxy") or "/usr/sbin/haproxy", str(HERE / ".peers/haproxy")):
        if Path(found).exists() and "bwlim" in _output(found, "-vv").lower():
            return found
    raise FileNotFoundError("no HAProxy with bwlim-out (2.7 or newer): run bench/install.sh")


def versions() -> dict[str, str]:
    """What was measured."""
    return {
        "nginx": _number(_output(nginx(), "-v")),
        "HAProxy": _number(_output(haproxy(), "-v")),
        "Squid": _number(_output(shutil.which("squid") or "/usr/sbin/squid", "-v")),
        "tc": _number(_output("tc", "-V").replace("iproute2-", "")),
    }


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def _number(text: str) -> str:
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found.group() if found else "?"
