"""A mitmproxy script that writes down, every few seconds, what the proxy and its throttle hold.

Rule: it looks and changes nothing; whatever the engine has that has a length is counted, by its
name, so that what is added to the engine later is counted as well.
"""

# No dataclass here: mitmproxy loads scripts without putting them in sys.modules.

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader

EVERY_S = 2.0
PARTS = ("clock", "schedule", "shared")
# These only ever grow or belong to the policy: they tell nothing about what is left over.
NOT_HELD = ("counts", "policy", "seed")


def lengths(holder: object, prefix: str = "") -> Iterator[tuple[str, int]]:
    names = [*getattr(holder, "__dict__", ()), *getattr(type(holder), "__slots__", ())]
    for name in names:
        value: Any = getattr(holder, name, None)
        if name in NOT_HELD or isinstance(value, str):
            continue
        if name in PARTS:
            yield from lengths(value, f"{name}.")
        elif hasattr(value, "__len__"):
            yield prefix + name.lstrip("_"), len(value)


class Counts:
    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option("bench_counts", str, "", "File to append counts to, a JSON line each.")

    def running(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="bench counts")

    def done(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        with Path(ctx.options.bench_counts).open("a", buffering=1) as file:
            while True:
                file.write(json.dumps(self._look()) + "\n")
                await asyncio.sleep(EVERY_S)

    def _look(self) -> dict[str, Any]:
        proxyserver = ctx.master.addons.get("proxyserver")
        ours = ctx.master.addons.get("mitmthrottle")
        engine = ours.throttle.engine if ours else None
        return {
            "t": time.monotonic(),
            "tasks": len(asyncio.all_tasks()),
            "connections": len(proxyserver.connections) if proxyserver else 0,
            "held": dict(lengths(engine)) if engine else {},
            "outcomes": dict(getattr(engine, "counts", {})),
        }


addons = [Counts()]
