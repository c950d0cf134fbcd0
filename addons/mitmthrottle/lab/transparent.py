"""A lab for transparent mode, in network namespaces: `make lab` builds it, `make lab-down` removes
it, a test has it for the length of a `with` block.

Rule: the client has no proxy setting and dials addresses; all names of the origin share one.

    python -m mitmthrottle.lab.transparent up | down
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmthrottle.lab import netns
from mitmthrottle.lab.netns import Net, NoNamespaces
from mitmthrottle.lab.origin import Origin, running_origin
from mitmthrottle.lab.proxy import ProxyNotStarted, RunningProxy, running_proxy

HOSTS = ("twitter.com", "pbs.twimg.com", "video.twimg.com", "example.org")
TAG = "mitmthrottle"
POLICY = "twitter-2021"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 14_4 like Mac OS X)"

_STATE = Path("/run/mitmthrottle-lab")
_START_S = 40.0
_STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class Lab:
    """A client without a proxy setting, and what lies between it and the origin."""

    net: Net
    origin: Origin
    proxy: RunningProxy


@contextlib.contextmanager
def running_lab(
    policy: Path | str,
    hosts: Sequence[str] = HOSTS,
    *,
    tag: str = TAG,
    options: Sequence[str] = (),
) -> Iterator[Lab]:
    """Namespaces, an origin for these host names, and mitmdump in transparent mode between.

    Needs root. Raises NoNamespaces and ProxyNotStarted.

        with running_lab("my.yaml", ["example.org"]) as lab:
            subprocess.run([*lab.net.at_client, "curl", "--cacert", lab.proxy.ca_path,
                            "https://example.org/photo.jpg"])
    """
    with (
        netns.built(tag, hosts) as net,
        served(net, hosts) as origin,
        proxied(net, policy, origin.ca_path, options) as proxy,
    ):
        yield Lab(net, origin, proxy)


@contextlib.contextmanager
def served(net: Net, hosts: Sequence[str]) -> Iterator[Origin]:
    """The lab's origin at ports 443 and 80 of the origin's addresses."""
    with contextlib.ExitStack() as stack:
        with netns.inside(net.origin):
            origin = stack.enter_context(running_origin(hosts))
            stack.enter_context(_forwarded({443: origin.port, 80: origin.plain_port}))
        yield origin


@contextlib.contextmanager
def proxied(
    net: Net, policy: Path | str | None, upstream_ca: Path, options: Sequence[str] = ()
) -> Iterator[RunningProxy]:
    """mitmdump in transparent mode on the router; without a throttle if there is no policy."""
    mode = ["--mode", "transparent", "--listen-port", str(netns.PROXY_PORT)]
    with contextlib.ExitStack() as stack:
        with netns.inside(net.router):
            proxy = stack.enter_context(
                running_proxy(
                    policy, options=[*mode, *options], upstream_ca=upstream_ca, listen_host=""
                )
            )
        yield proxy


@contextlib.contextmanager
def _forwarded(ports: dict[int, int]) -> Iterator[None]:
    """The lab's origin listens on loopback only: bring it what comes for these ports."""
    loop = asyncio.new_event_loop()
    started = threading.Event()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        servers = []
        for port, inner in ports.items():
            for address in netns.ORIGIN:
                start = asyncio.start_server(_Forward(inner).connected, address, port)
                servers.append(loop.run_until_complete(start))
        started.set()
        loop.run_forever()
        for server in servers:
            server.close()
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=serve, name="forward", daemon=True)
    thread.start()
    if not started.wait(_START_S):
        raise RuntimeError("the origin's ports cannot be had")
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)


class _Forward:
    def __init__(self, port: int) -> None:
        self._port = port
        self._alive: set[object] = set()  # asyncio itself does not hold on to its tasks

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._alive.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, inner_writer))
                    both.create_task(_pump(inner_reader, writer))
            except* OSError:
                pass  # one of them has left
            finally:
                inner_writer.close()
        writer.close()
        self._alive.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


# -- make lab, make lab-down


def up() -> None:
    """Start the lab in the background and say what can be done there."""
    if _running():
        raise SystemExit("the lab is up already; `make lab-down` removes it")
    shutil.rmtree(_STATE, ignore_errors=True)
    _STATE.mkdir(parents=True)
    with (_STATE / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mitmthrottle.lab.transparent", "run"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (_STATE / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + _START_S
    while not (_STATE / "ready").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = (_STATE / "log").read_text(errors="replace").strip().splitlines()
            down()
            raise SystemExit("\n".join(["the lab did not start:", *said[-5:]]))
        time.sleep(0.05)
    print((_STATE / "ready").read_text(), end="")


def down() -> None:
    """End the lab and remove its namespaces, whatever there is of them."""
    if pid := _running():
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while _running() and time.monotonic() < deadline:
            time.sleep(0.05)
        if _running():
            os.kill(pid, signal.SIGKILL)
    netns.remove(TAG)
    shutil.rmtree(_STATE, ignore_errors=True)


def run() -> None:
    """Be the lab, until told to end."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        with running_lab(POLICY) as lab:
            ca = _STATE / "ca.pem"
            shutil.copy(lab.proxy.ca_path, ca)
            part = _STATE / "part"
            part.write_text(_what_to_do(lab, ca))
            part.rename(_STATE / "ready")
            stopped.wait()
    except (NoNamespaces, ProxyNotStarted) as reason:
        raise SystemExit(str(reason)) from None


def _what_to_do(lab: Lab, ca: Path) -> str:
    at_client = " ".join(lab.net.at_client)
    told = "-w '%{speed_download} B/s\\n'"
    fetch = f"{at_client} curl -s --cacert {ca} -A '{PHONE}' -o /dev/null {told}"
    return f"""\
The lab is up: {lab.net.client} -> {lab.net.router} (mitmdump, {POLICY}) -> {lab.net.origin}
The client has no proxy setting. Names of the origin: {", ".join(HOSTS)}

{fetch} https://pbs.twimg.com/photo.jpg
{fetch} -6 https://pbs.twimg.com/photo.jpg
{fetch} https://example.org/photo.jpg
{at_client} sh       # a shell on the client

make lab-down        # removes it
"""


def _running() -> int | None:
    """The process that is the lab, if it lives."""
    try:
        pid = int((_STATE / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"mitmthrottle.lab.transparent" in command else None


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("network namespaces need root: sudo make lab")
    {"up": up, "down": down, "run": run}[sys.argv[1]]()
