"""Processes that share one budget, by the real script on a clock that is told."""

from __future__ import annotations

from dataclasses import dataclass

from mitmthrottle.pacing import Answer, Demand

from .lua_server import LuaServer

FLEET = "fleet"
BUDGET = "budget"


@dataclass
class Member:
    """One process: what it asks and what it was told; `uses` is what it may give out now."""

    server: LuaServer
    name: str
    backlogged: int = 0
    limited: int = 0
    needed: float = 0.0
    told: float | None = None
    each: float = 0.0
    serial: int = 0
    processes: int = 1
    elapsed_ms: float = 0.0

    def __post_init__(self) -> None:
        self.server.listeners.add(f"{FLEET}:{self.name}")

    @property
    def uses(self) -> float:
        return self.told or 0.0

    def demand(self) -> Demand:
        needed = self.needed
        if not self.backlogged and self.limited:
            needed += needed / 32 + self.limited * self.each / 256
        return Demand(self.backlogged, self.limited, needed, self.told)

    def send(self) -> list[str]:
        """Report; the answer has not come back yet."""
        self.serial += 1
        demand = self.demand()
        held = -1 if demand.held is None else demand.held
        return self.server.run(
            "allocations.lua",
            [FLEET, BUDGET],
            [
                *(self.name, "1", str(self.serial), str(self.processes), "p"),
                str(self.elapsed_ms),
                *(str(demand.backlogged), str(demand.limited), repr(demand.needed), repr(held)),
            ],
        )

    def hear(self, answer: list[str]) -> Answer | None:
        if not answer:
            return None
        self.processes = int(answer[1])
        heard = Answer(float(answer[3]), float(answer[4]), int(answer[5]))
        self.each = heard.each
        self.told = heard.part if self.backlogged or self.limited else None
        return heard

    def report(self) -> Answer | None:
        return self.hear(self.send())


def fair_parts(members: list[Member]) -> list[float]:
    """What each should have: max-min fair between responses, by bisection; what nobody needs is
    spread over all responses."""
    asked = [member.demand() for member in members]

    def total(each: float) -> float:
        return sum(d.backlogged * each + min(d.limited * each, d.needed) for d in asked)

    low, high = 0.0, 1.0
    if total(1.0) >= 1.0:
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if total(middle) < 1.0 else (low, middle)
        return [d.backlogged * low + min(d.limited * low, d.needed) for d in asked]
    everyone = sum(d.backlogged + d.limited for d in asked)
    spare = (1.0 - total(1.0)) / everyone if everyone else 0.0
    return [
        d.backlogged + min(float(d.limited), d.needed) + (d.backlogged + d.limited) * spare
        for d in asked
    ]
