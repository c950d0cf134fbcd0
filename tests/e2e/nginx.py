"""nginx as the origin: HTTPS with HTTP/2 and plain HTTP/1.1, on ports of its own, from a folder.

Rule: its whole life is in a temporary folder, and it is ended by its process id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

_START_S = 10.0
_TRIES = 3  # a free port may be taken before nginx has it

_CONFIG = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    log_format seen '$msec $server_protocol $request_method $uri $status $body_bytes_sent';
    access_log {folder}/access.log seen;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{
        text/html html; text/css css; text/plain txt; application/json json;
        image/jpeg jpg; video/mp4 mp4;
    }}
    default_type application/octet-stream;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 75;
    keepalive_requests 100000;
    http2_max_concurrent_streams 500;
    gzip_static on;
    server {{
        listen 127.0.0.1:{secure} ssl http2;
        listen 127.0.0.1:{plain};
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/certificate.pem;
        root {root};
        location / {{ add_header X-Served-By nginx; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """What one needs to know of a running nginx."""

    port: int
    """of HTTPS"""
    plain_port: int
    root: Path
    ca_path: Path
    access_log: Path

    @property
    def resolve(self) -> dict[str, tuple[str, int]]:
        """For `running_proxy(resolve=...)`: any host's ports 443 and 80 lead here."""
        return {"*:443": ("127.0.0.1", self.port), "*:80": ("127.0.0.1", self.plain_port)}


@contextlib.contextmanager
def running_nginx(
    root: Path, hosts: Sequence[str], authority: trustme.CA | None = None
) -> Iterator[Nginx]:
    """Serve the files under `root` for these names until the block ends."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise FileNotFoundError("nginx is not installed; on Debian: apt-get install nginx-light")
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-nginx-") as name:
        folder = Path(name)
        authority = authority or trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = authority.issue_cert(*hosts)
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "certificate.pem")
        process, ports = _start(binary, folder, root)
        try:
            yield Nginx(*ports, root, folder / "ca.pem", folder / "access.log")
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(
    binary: str, folder: Path, root: Path
) -> tuple[subprocess.Popen[bytes], tuple[int, int]]:
    for _ in range(_TRIES):
        ports = _free_ports()
        config = folder / "nginx.conf"
        # A worker of another user could not read the tests' folders.
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(
            _CONFIG.format(folder=folder, root=root, user=user, secure=ports[0], plain=ports[1])
        )
        with (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        if _listens(process, ports):
            return process, ports
        process.kill()
        process.wait()
    said = "\n".join((folder / name).read_text() for name in ("stderr", "error.log"))
    raise RuntimeError(f"nginx did not start:\n{said}")


def _free_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        return one.getsockname()[1], other.getsockname()[1]


def _listens(process: subprocess.Popen[bytes], ports: Sequence[int]) -> bool:
    deadline = time.monotonic() + _START_S
    for port in ports:
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
    return True
