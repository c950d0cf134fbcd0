"""Runs policies with their asks, a few proxies at a time, and keeps what was said of each.

Rule: one origin and one sink for all; each policy has a proxy of its own, started as a user would.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trustme

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from .answer import COMPLETE
from .http1 import http1
from .language_asks import DESKTOP, FILES, Ask, Told, again, run
from .language_sink import Sink, running_sink
from .nginx import Nginx, running_nginx

DESKTOPS = 40
SHARE_OF = f"share of {DESKTOPS} desktops"
_MORE_TRIES = 2
_NETS = itertools.count(20)  # 127.20.0.0/16 and on: no two policies share a client's address


Share = tuple[str, str, float, float]
"""(host, path, least, most): what part of `DESKTOPS` is slowed there"""


@dataclass(frozen=True)
class Library:
    """Where policies are tried."""

    nginx: Nginx
    sink: Sink
    folder: Path
    pool: ThreadPoolExecutor
    _jobs: dict[str, Callable[[set[str]], Told]] = field(default_factory=dict)
    _told: dict[str, Future[Told]] = field(default_factory=dict)
    starting: threading.Lock = field(default_factory=threading.Lock)
    """Held while a proxy starts, which takes a core: the others are being measured."""

    def start(
        self,
        name: str,
        path: Path,
        asks: Sequence[Ask],
        uploads: Sequence[str],
        shares: Sequence[Share] = (),
        options: Sequence[str] = (),
    ) -> None:
        """Try a policy as soon as there is room; `outcome` is what came of it."""
        self._jobs[name] = partial(self._try, path, asks, uploads, shares, options)
        self._told[name] = self.pool.submit(self._jobs[name], set())

    def outcome(self, name: str) -> Told:
        """What was said. What was wrong is tried again, and nothing else meanwhile, twice at most:
        other programs may take the machine for a moment, but a promise that is not kept is not kept
        ever."""
        told = self._told[name].result()
        for _ in range(_MORE_TRIES):
            if not told.faults:
                break
            self.wait()
            before, told = told, self._jobs[name](told.failed)
            kept = [(what, said) for what, said in before.figures if what not in before.failed]
            told.figures = [*kept, *told.figures]
            told.figures += [("wrong before:", fault) for fault in before.faults]
        return told

    def wait(self) -> None:
        """Until all that was started is over."""
        futures.wait(self._told.values())

    def _try(
        self,
        path: Path,
        asks: Sequence[Ask],
        uploads: Sequence[str],
        shares: Sequence[Share],
        options: Sequence[str],
        failed: set[str],
    ) -> Told:
        """All of it; if something has failed before, that only."""
        if failed:
            asks = again(asks, failed)
            shares = [share for share in shares if SHARE_OF in failed]
        resolve = dict(self.nginx.resolve)
        for host in uploads:
            resolve[f"{host}:443"] = ("127.0.0.1", self.sink.port)
            resolve[f"{host}:80"] = ("127.0.0.1", self.sink.plain_port)
        # And where no host's own line leads, port 8443 is the plain one too.
        resolve["*:8443"] = ("127.0.0.1", self.nginx.plain_port)
        net = next(_NETS)
        # Passed on as it comes, as `mitmthrottle run` does: free is then free from the first byte.
        options = ("--set", "stream_large_bodies=1", "--set", "flow_detail=0", *options)
        with contextlib.ExitStack() as stack:
            with self.starting:
                proxy = stack.enter_context(
                    running_proxy(
                        path, upstream_ca=self.nginx.ca_path, resolve=resolve, options=options
                    )
                )
                begun = time.perf_counter()
            with ThreadPoolExecutor(1 + len(shares)) as pool:
                job = pool.submit(run, proxy, self.sink, asks, net, begun)
                counted = [pool.submit(slowed_share, proxy, net, share) for share in shares]
                told = job.result()
            for share, count in zip(shares, counted, strict=True):
                told.of(SHARE_OF, partial(judge, share, count.result()))
            if "Traceback" in proxy.log():
                told.faults.append(f"a traceback:\n{proxy.log()}")
        return told


def slowed_share(proxy: RunningProxy, net: int, share: Share) -> float:
    """How many of the desktops, each with an address of its own, are not through in time."""
    host, path, _, _ = share
    start = threading.Barrier(DESKTOPS)

    def is_slowed(number: int) -> bool:
        source = f"127.{net}.100.{number + 1}"
        client = http1(proxy, host, secure=False, source=source, keep=False)
        start.wait()
        until = time.perf_counter() + 2.5
        answer = client.get(path, [("User-Agent", DESKTOP)], until=until)
        client.close()
        return answer.end != COMPLETE

    with ThreadPoolExecutor(DESKTOPS) as pool:
        return sum(pool.map(is_slowed, range(DESKTOPS))) / DESKTOPS


def judge(share: Share, found: float) -> str:
    _, _, least, most = share
    said = f"{found:.0%} slowed"
    assert least <= found <= most, said
    return said


@contextlib.contextmanager
def running_library(folder: Path, hosts: Sequence[str], at_once: int) -> Iterator[Library]:
    """Until the block ends, with `at_once` proxies at a time."""
    root = folder / "www"
    root.mkdir()
    for name, size in FILES.items():
        with (root / name).open("wb") as file:
            file.truncate(size)
    authority = trustme.CA()
    with (
        running_nginx(root, hosts, authority) as nginx,
        running_sink(hosts, authority) as sink,
        ThreadPoolExecutor(at_once) as pool,
    ):
        yield Library(nginx, sink, folder, pool)
