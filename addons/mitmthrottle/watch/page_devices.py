"""Which device a client's User-Agent speaks of, for the page.

Rule: worked out in a thread. A new User-Agent takes a tenth of a millisecond, there may be a
thousand of them, and the proxy should not stand still for a column of the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mitmthrottle.policy.detect.devices import device_of

MOST_KEPT = 1000

type UserAgent = tuple[str, str]
"""the User-Agent and the Sec-CH-UA-Mobile header"""


class Devices:
    """Remembers what was worked out."""

    def __init__(self) -> None:
        self._known: dict[UserAgent, str | None] = {}

    def known(self, agent: UserAgent) -> str | None:
        """None also where it is not worked out yet."""
        return self._known.get(agent)

    async def learn(self, agents: Iterable[UserAgent]) -> None:
        new = [agent for agent in agents if agent[0] and agent not in self._known]
        if not new:
            return
        if len(self._known) > MOST_KEPT:
            self._known.clear()
        self._known.update(await asyncio.to_thread(_devices, new))


def _devices(agents: list[UserAgent]) -> dict[UserAgent, str | None]:
    return {
        agent: device_of({"user-agent": agent[0], "sec-ch-ua-mobile": agent[1]}) for agent in agents
    }
