"""A proxy with the throttle that is watched at times: log, metrics and page come and go while it
runs.

Rule: what is put in the other's place is a script as a user has it, whole; nothing is switched off
inside it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from mitmthrottle.lab.proxy import running_proxy

from . import peers
from .origin import Origin
from .peers import Peer
from .programs import free_port

# What addons/throttle.py is, with those who watch and without them.
WATCHED, UNWATCHED = "watched", "unwatched"
IMPORTS = """from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.mitm.combine import combine
from mitmthrottle.proxy.mitm.gc_freeze import FreezeGarbage
from mitmthrottle.proxy.listen.proxy_protocol import ProxyProtocol

"""
SCRIPTS = {
    WATCHED: """throttle = Throttle()
globals().update(combine(ProxyProtocol(), throttle, *watch.addons(throttle)))
""",
    UNWATCHED: """globals().update(combine(ProxyProtocol(), Throttle()))
""",
}
# Puts the one into the other's place.
SWITCH = """import asyncio
import signal
from pathlib import Path

from mitmproxy import ctx

HERE = Path(__file__).parent
SCRIPTS = {name: str(HERE / f"{name}.py") for name in ("watched", "unwatched")}


class Switch:
    def running(self):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.use, "watched")
        loop.add_signal_handler(signal.SIGUSR2, self.use, "unwatched")

    def use(self, name):
        others = [each for each in ctx.options.scripts if each not in SCRIPTS.values()]
        ctx.options.scripts = [*others, SCRIPTS[name]]


addons = [FreezeGarbage(), Switch()]
"""
SIGNALS = {WATCHED: signal.SIGUSR1, UNWATCHED: signal.SIGUSR2}


@contextlib.contextmanager
def running(folder: Path, origin: Origin, policy: Path, first: str) -> Iterator[tuple[Peer, str]]:
    """A proxy that can be switched, and where its page is while it has one."""
    for name, text in SCRIPTS.items():
        (folder / f"{name}.py").write_text(IMPORTS + text)
    (folder / "switch.py").write_text(IMPORTS + SWITCH)
    port = free_port()
    options = [*peers.QUIET, *peers.STREAM]
    options += ["-s", str(folder / "switch.py"), "-s", str(folder / f"{first}.py")]
    for option in (
        f"throttle_policy={policy}",
        f"throttle_log={folder / 'throttle.jsonl'}",
        f"throttle_listen=127.0.0.1:{port}",
    ):
        options += ["--set", option]
    with running_proxy(None, options=options, resolve=origin.resolve) as proxy:
        peer = Peer(first, proxy.pid, proxy.port, proxy.port, True, proxy.log_path)
        yield peer, f"http://127.0.0.1:{port}"


class Onlookers:
    """Who switch a proxy, and ask for its page and its metrics in each turn in which it has them:
    as a browser that asks each second, and Prometheus each five."""

    def __init__(self, pid: int, page: str) -> None:
        self._pid = pid
        self._urls = itertools.cycle((["/api/state", "/metrics"], *4 * [["/api/state"]]))
        self._page = page
        self._asking: list[threading.Thread] = []
        self.answers = 0

    def told(self, event: str, job: str) -> None:
        if event == "turn":
            os.kill(self._pid, SIGNALS[job])
        elif job == WATCHED:
            self._asking.append(threading.Thread(target=self._ask, args=(next(self._urls),)))
            self._asking[-1].start()

    def _ask(self, paths: Sequence[str]) -> None:
        for path in paths:
            with urllib.request.urlopen(self._page + path, timeout=10) as answer:
                answer.read()
            self.answers += 1

    def end(self) -> None:
        """RuntimeError if an answer was none."""
        for thread in self._asking:
            thread.join(15)
        if self.answers < len(self._asking):
            raise RuntimeError(f"{self._page} has not always answered")
