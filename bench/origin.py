"""The origin of every measurement: one nginx with a few files, over HTTP/1.1 and over HTTP/2.

Rule: `/<anything>/<file>` is the same file whatever the first part says, so that a proxy may choose
its rate by the path; `/limit/<bytes per s>/<file>` is the file as nginx itself limits it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from .programs import free_port, running

FILES = {"big": 8 * 2**30, "200M": 200_000_000, "20M": 20_000_000, "20k": 20_000, "1k": 1_000}
"""Names and sizes.  Holes, so they cost no disk."""

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True, slots=True)
class Origin:
    pid: int
    plain_port: int
    tls_port: int
    certificate: Path
    """PEM file with key and chain, for the peers that speak TLS themselves"""

    @property
    def resolve(self) -> dict[str, tuple[str, int]]:
        """For mitmproxy: any name's ports 80 and 443 are this origin's."""
        return {"*:80": ("127.0.0.1", self.plain_port), "*:443": ("127.0.0.1", self.tls_port)}


def nginx_head(folder: Path) -> str:
    """What every nginx of the bench begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = "\n".join(f"    {name}_temp_path {folder}/{name};" for name in TEMPORARY)
    return f"""daemon off;
pid {folder}/pid;
error_log stderr warn;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 10000000;
    keepalive_timeout 600s;
    http2_max_concurrent_streams 10000;
{temporary}
"""


@contextlib.contextmanager
def running_origin(
    folder: Path, prefix: Sequence[str] = (), address: str = "127.0.0.1"
) -> Iterator[Origin]:
    """nginx with the files.  `prefix` runs it in a network namespace, on `address`."""
    root = folder / "files"
    root.mkdir(parents=True, exist_ok=True)
    for name, size in FILES.items():
        with (root / name).open("wb") as file:
            file.truncate(size)
    certificate = folder / "certificate.pem"
    trustme.CA().issue_cert(
        "bench.test", "*.bench.test", "127.0.0.1"
    ).private_key_and_cert_chain_pem.write_to_path(certificate)
    plain_port, tls_port = free_port(), free_port()
    config = folder / "origin.conf"
    config.write_text(
        nginx_head(folder / "origin")
        + f"""
    server {{
        listen {address}:{plain_port} backlog=4096;
        listen {address}:{tls_port} ssl http2 backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        location ~ ^/limit/(?<rate>[0-9]+)/(?<file>[^/]+)$ {{
            limit_rate $rate;
            alias {root}/$file;
        }}
        location ~ ^/[^/]+/(?<file>[^/]+)$ {{
            alias {root}/$file;
        }}
    }}
}}
"""
    )
    command = [nginx(), "-c", str(config)]
    # In another namespace nobody here can see whether it listens.
    wait_for = None if prefix else plain_port
    with running(command, folder / "origin.log", wait_for, prefix) as process:
        yield Origin(process.pid, plain_port, tls_port, certificate)


def nginx() -> str:
    found = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(found).exists():
        raise FileNotFoundError("nginx is not installed: run bench/install.sh")
    return found
