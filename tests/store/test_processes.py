"""Several processes' budgets in one simulation: the real arithmetic, the real script, one clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial

import pytest

from mitmthrottle.pacing import Allocation, Allocations, Answer, Budget, Claim, Demand, Shared

from ..pacing.simulate import Simulation
from .lua_server import LuaServer

RATE = 1_000_000.0
FLEET = "fleet"
STEP_S = 0.01  # the clock of all moves in steps of this


class Origins(Simulation):
    """Some of the responses have no more than their origin sends, in pieces of 100 ms."""

    def __init__(self) -> None:
        super().__init__(start=0.0)
        self._rates: dict[object, float] = {}
        self._stock: dict[object, float] = {}

    def held_by_origin(self, name: object, budget: Budget, rate: float) -> None:
        self._rates[name] = rate
        self._stock[name] = 0.0
        self.join(name, budget)

    def pass_time(self, seconds: float) -> None:
        self.run(seconds)
        for name, rate in self._rates.items():
            self._stock[name] += rate * seconds
            if not self._claims[name].waiting:
                self._ask(self._claims[name])

    def _ask(self, claim: Claim) -> None:
        name = claim.owner
        if name not in self._rates:
            super()._ask(claim)
            return
        piece = int(self._rates[name] * 0.1)
        while self._stock[name] >= piece and not claim.waiting:
            self._stock[name] -= piece
            if self.schedule.submit(claim, piece, self.now):
                self._record(claim)


class Slow(Origins):
    """Each turn costs the process so much time of its own."""

    def __init__(self, turn_s: float) -> None:
        super().__init__()
        self._turn_s = turn_s
        self._clock = 0.0

    def run(self, seconds: float) -> None:
        self._clock += seconds
        while self.now < self._clock and self.schedule.next_due() <= self._clock:
            self.now = max(self.now, self.schedule.next_due())
            for claim in self.schedule.advance(self.now):
                self._record(claim)
                self._ask(claim)
                self.now += self._turn_s
            self.schedule.all_are_back()
        self.now = max(self.now, self._clock)


class Process:
    """One process: its own schedule, and a call to the store whenever one is due."""

    def __init__(self, server: LuaServer, name: str, processes: int = 4) -> None:
        self.server = server
        self.name = name
        self.simulation = Origins()
        self.allocations = Allocations()
        self.allocations.processes = processes
        self.shared = Shared(self.allocations)
        self.allocations.on_allocation = self.simulation.schedule.touch
        self.calls = 0
        self.cut_off = False
        self.answers_take_s = 0.0
        self._to_come: list[tuple[float, Callable[[], None]]] = []
        server.listeners.add(f"{FLEET}:{name}")

    def join(self, name: str, chunk: int | None = None) -> None:
        budget = self.shared.get("all", RATE, None, self.simulation.now)
        more = {} if chunk is None else {"chunk": lambda: chunk}
        self.simulation.join(name, budget, **more)

    def step(self) -> None:
        self.simulation.pass_time(STEP_S)
        now = self.simulation.now
        if self._to_come:
            when, hear = self._to_come[0]
            if when > now:
                return
            self._to_come.clear()
            hear()
        if self.allocations.next_due() > now or self.cut_off:
            return
        self.calls += 1
        for part, demand in self.allocations.due(now, 50):
            held = -1 if demand.held is None else demand.held
            answer = self.server.run(
                "allocations.lua",
                [FLEET, str(part.key)],
                [
                    *(self.name, "1", str(self.calls), str(self.allocations.processes), "p", "0"),
                    *(str(demand.backlogged), str(demand.limited)),
                    *(repr(demand.needed), repr(held)),
                ],
            )
            hear = partial(self._hear, part, demand, answer)
            if self.answers_take_s:
                self._to_come.append((now + self.answers_take_s, hear))
            else:
                hear()

    def _hear(self, part: Allocation, demand: Demand, answer: list[str]) -> None:
        self.allocations.processes = int(answer[1])
        told = Answer(float(answer[3]), float(answer[4]), int(answer[5]))
        self.allocations.answered(part, demand, told, self.simulation.now)

    def sent(self, start: float, stop: float, name: str | None = None) -> int:
        events = self.simulation.sent.items()
        return sum(
            size
            for who, each in events
            if name is None or who == name
            for at, size in each
            if start <= at < stop
        )


def fleet(*counts: int) -> tuple[LuaServer, list[Process]]:
    server = LuaServer()
    server.now_s = 1_000_000.0
    server.hashes[FLEET]["#epoch"] = "1"
    processes = [Process(server, f"p{n}") for n in range(len(counts))]
    for process, count in zip(processes, counts, strict=True):
        for number in range(count):
            # A first piece is cut for as many as there are; these all come at the same moment.
            process.join(f"{process.name}/{number}", chunk=500)
    return server, processes


def run(server: LuaServer, processes: list[Process], seconds: float) -> None:
    for _ in range(round(seconds / STEP_S)):
        server.now_s += STEP_S
        for process in processes:
            process.step()
        for process in processes:
            if (f"{FLEET}:{process.name}", "all") in server.said:
                for part in process.allocations.active():
                    part.hurry()
        server.said.clear()


def total(processes: list[Process], start: float, stop: float) -> float:
    return sum(process.sent(start, stop) for process in processes) / (stop - start)


def jain(rates: list[float]) -> float:
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def rates(processes: list[Process], start: float, stop: float) -> list[float]:
    return [
        process.sent(start, stop, str(name)) / (stop - start)
        for process in processes
        for name in process.simulation.sent
    ]


def test_equal_parts_from_the_second_second_on() -> None:
    server, processes = fleet(150, 30, 15, 5)
    run(server, processes, 4)
    for second in (1, 2, 3):
        assert jain(rates(processes, second, second + 1)) > 0.99
    assert total(processes, 1, 4) == pytest.approx(RATE, rel=0.01)
    assert max(process.calls for process in processes) <= 15 * 4


def test_never_more_than_the_rate_and_its_burst() -> None:
    """Whatever comes and goes: in any second the rate, a burst, and a sixteenth on top."""
    server, processes = fleet(20, 1, 0, 0)
    run(server, processes, 1)
    for round_number, process in enumerate(processes * 3):
        for number in range(10):
            process.join(f"{round_number}/{number}")
        run(server, processes, 0.3)
        leaving = processes[round_number % 3]
        for name in list(leaving.simulation._claims)[:8]:
            leaving.simulation.leave(name)
        run(server, processes, 0.3)
    stop = processes[0].simulation.now
    for start in range(int(10 * (stop - 1))):
        assert total(processes, start / 10, start / 10 + 1) <= RATE * (1 + 1 / 16) + 0.1 * RATE


def test_what_an_origin_holds_back_flows_to_the_others() -> None:
    """One process has all the slow ones: nobody there could use what they leave."""
    server, processes = fleet(10, 0)
    slow = processes[1]
    slow_rate = RATE / 20 / 4
    budget = slow.shared.get("all", RATE, None, 0.0)
    for number in range(10):
        slow.simulation.held_by_origin(f"slow/{number}", budget, slow_rate)
    run(server, processes, 6)
    held, others = total([slow], 2, 6), total(processes[:1], 2, 6)
    assert held == pytest.approx(10 * slow_rate, rel=0.03)
    assert others > 0.985 * (RATE - 10 * slow_rate)
    assert held + others <= RATE * 1.01


@pytest.mark.parametrize("turns_per_s", [2000, 1000, 500])
def test_one_that_is_short_of_processor_is_not_short_of_its_part(turns_per_s: int) -> None:
    """Equal parts would take 20 turns a second for each of 100 responses: it is late all the time,
    and would be later still if less were given to it."""
    server, processes = fleet(0, 100)
    slow = processes[0]
    slow.simulation = Slow(1 / turns_per_s)
    slow.allocations.on_allocation = slow.simulation.schedule.touch
    for number in range(100):
        slow.join(f"slow/{number}", chunk=500)
    run(server, processes, 10)
    (part,) = slow.allocations.active()
    assert part.budget.fraction == pytest.approx(0.5, rel=0.05)
    assert slow.sent(5, 10) / 5 > 0.4 * RATE * min(1, turns_per_s / 2000)


def test_one_that_is_cut_off_goes_on_and_nobody_has_its_part() -> None:
    server, processes = fleet(10, 10)
    run(server, processes, 2)
    processes[0].cut_off = True
    run(server, processes, 10)
    assert total(processes, 2.0, 12.0) == pytest.approx(RATE, rel=0.01)
    assert processes[0].sent(3, 12) / 9 == pytest.approx(RATE / 2, rel=0.02)


def test_a_slow_store_is_only_slow() -> None:
    """Each answer takes most of the second after which the store would be away."""
    server, processes = fleet(15, 3, 1, 1)
    for process in processes:
        process.answers_take_s = 0.9
    run(server, processes, 9)
    # Whoever came first had all of it until it heard of the others.
    assert total(processes, 0, 9) <= RATE * 1.1
    assert total(processes, 6, 9) == pytest.approx(RATE, rel=0.01)
    assert jain(rates(processes, 6, 9)) > 0.99


def test_one_that_is_killed_is_missed_by_nobody() -> None:
    server, processes = fleet(10, 10)
    run(server, processes, 2)
    server.listeners.discard(f"{FLEET}:p0")
    run(server, processes[1:], 3)
    assert processes[1].sent(4, 5) == pytest.approx(RATE, rel=0.02)


def test_alone_it_has_all_of_it_at_the_first_answer() -> None:
    server, processes = fleet(1)
    run(server, processes, 3)
    assert total(processes, 0.0, 3.0) == pytest.approx(RATE, rel=0.02)
    assert processes[0].calls <= 3 / 0.4 + 3


def test_parts_without_a_store_are_equal_ones() -> None:
    parts = Allocations()
    parts.processes = 4
    budget = Shared(parts).get("all", RATE, 1000, 0.0)
    assert (budget.rate_bytes_per_s, budget.burst_bytes) == (RATE / 4, 250)
    assert budget.is_set_to(RATE, 1000, policing=False)
    parts.away("open", 0.0)
    assert budget.rate_bytes_per_s > 1000 * RATE
    parts.away("split", 0.0)
    assert budget.rate_bytes_per_s == RATE / 4
    assert math.isfinite(budget.full_at())


def test_a_part_that_shrinks_is_not_charged_for_what_it_has_let_through() -> None:
    """Pieces that wait at a narrower budget were paid for when the part was large."""
    run = Origins()
    shared = Budget(RATE, None, 0.0)
    for number in range(100):
        run.join(number, shared, Budget(0.9 * RATE / 100, None, 0.0))
    run.run(3.0)
    shared.set_fraction(0.01, run.now)
    run.schedule.touch(shared)
    run.run(3.0)
    later = [size for when, size in run.everything() if when > 4.0]
    assert sum(later) == pytest.approx(0.01 * RATE * 2.0, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_a_crowd_that_comes_one_by_one_is_equal_from_the_second_second_on(seed: int) -> None:
    """Who came first took what there was, and is not silent until all others have had as much."""
    server, processes = fleet(0, 0, 0, 0)
    comers = [p for p, n in zip(processes, (150, 30, 15, 5), strict=True) for _ in range(n)]
    random.Random(seed).shuffle(comers)
    for number, process in enumerate(comers):
        process.join(f"{process.name}/{number}")
        if number % 2:
            run(server, processes, STEP_S)
    begun = processes[0].simulation.now
    run(server, processes, 4.1)
    for second in (1, 2, 3):
        each = rates(processes, begun + second, begun + second + 1)
        assert sum(each) == pytest.approx(RATE, rel=0.01)
        assert jain(each) > 0.99
        assert min(each) > 0.5 * RATE / 200
