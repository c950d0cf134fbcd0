"""Several proxies, one store, one crowd."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mitmthrottle.lab.netns import inside
from mitmthrottle.lab.proxy import ProxyDied, RunningProxy, running_proxy

from .store_crowd import Crowd, crowd
from .store_net import HUB, STORE, FleetNet, fleet_net, proxy_address
from .store_server import StoreServer, running_store


@dataclass
class Fleet:
    """`doors`: where each proxy listens."""

    net: FleetNet | None
    store: StoreServer
    proxies: list[RunningProxy]
    doors: list[tuple[str, int]]
    crowd: Crowd

    def log(self) -> str:
        return "\n".join(proxy.log() for proxy in self.proxies)


def options(store: StoreServer | None, down: str = "split") -> list[str]:
    if store is None:
        return []
    return ["--set", f"throttle_store={store.url}", "--set", f"throttle_store_down={down}"]


@contextlib.contextmanager
def fleet(policy: Path, proxies: int, *, apart: bool, down: str = "split") -> Iterator[Fleet]:
    """`apart`: each proxy, and the store, in a network namespace of its own."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(fleet_net(proxies)) if apart else None
        hub = (net.hub, HUB) if net else (None, "127.0.0.1")
        store = stack.enter_context(running_store(*((net.store, STORE) if net else ())))
        people = stack.enter_context(crowd(*hub))
        running, doors = [], []
        for number in range(proxies):
            stack.enter_context(contextlib.suppress(ProxyDied))  # who is killed: see `kill`
            with inside(net.proxies[number]) if net else contextlib.nullcontext():
                running.append(
                    stack.enter_context(
                        running_proxy(
                            policy,
                            options=options(store, down),
                            resolve={"*": (people.address, people.port)},
                            listen_host="0.0.0.0" if net else "127.0.0.1",
                        )
                    )
                )
            address = proxy_address(number) if net else "127.0.0.1"
            doors.append((address, running[-1].port))
        yield Fleet(net, store, running, doors, people)


def kill(proxy: RunningProxy) -> None:
    os.kill(proxy.pid, 9)
    time.sleep(0.01)
