"""Faults put in on purpose, one line each, and what finds them: so that a run without a fault means
something.

To add one: the function, a line that stands in it once, what to put in its place, and a story or
the seed of a scenario that shows it.  `python -m tests.simulation.planted` tries them all, and
`--search NAME` looks for a seed.  A line that is no longer there is an error: the fault has to be
planted anew where its idea lives now.
"""

from __future__ import annotations
import __future__

import ast
import importlib
import inspect
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from .draw import scenario
from .scenario import examine
from .stories import STORIES


@dataclass(frozen=True)
class Plant:
    """`where`: package.module:Class.function below mitmthrottle; `line`: as it stands there."""

    name: str
    where: str
    line: str
    instead: str
    shows: str | int
    """the story, or the seed"""


PLANTS = (
    Plant(
        "bytearrays are dropped",
        "proxy.bodies.queue:BodyQueue.push",
        "if not data:",
        "if type(data) is not bytes or not data:",
        "the server speaks with its 101",
    ),
    Plant(
        "what comes behind the end overtakes it",
        "proxy.http_stream:PacedStream._pass_tail",
        "behind = body.queue.drain()",
        "behind = []",
        "the server speaks with its 101",
    ),
    Plant(
        "a quota that is used up under way blocks",
        "policy.plan:Plan.in_force",
        "return replace(self, delay=None, block=None, starts=())",
        "return self",
        "a comment is added under a download within its quota",
    ),
    Plant(
        "within a quota the rest of the rule holds",
        "policy.plan:Plan.in_force",
        "return Plan(quota=self.quota, until_s=self.until_s)",
        "return replace(self, limits=NO_LIMITS, delay=None, block=None, starts=())",
        "a cut within the quota",
    ),
    Plant(
        "a timer outlives its body",
        "proxy.wake:Waker.close",
        "self.timer.waker = None",
        "return",
        "a stage of a day",
    ),
    Plant(
        "what waits is not cut anew at a lower rate",
        "pacing.budgets:Budget._recut",
        "size = min(size, max(SMALLEST_CUT_BYTES, int(size * factor)))",
        "pass",
        "a rate is lowered under way",
    ),
    Plant(
        "the origin's window stays that of the first rate",
        "proxy.bodies.body:Body.window",
        "if told is not None and _is_near(told[0], wanted[0]) and _is_near(told[1], wanted[1]):",
        "if told is not None:",
        "a rate is raised under way, HTTP/2",
    ),
    Plant(
        "what a stream was owed is not given back",
        "proxy.flow_control:PacedHttp2Connection._receive",
        "self._acknowledge_to_connection(event.flow_controlled_length)",
        "pass",
        "paced responses are given up, HTTP/2",
    ),
    Plant(
        "who waits to start sleeps until its turn",
        "proxy.bodies.body:Body.begin",
        "self.longest_sleep_s = min(LONGEST_SLEEP_S, timeout_s / 3)",
        "self.longest_sleep_s = math.inf",
        "waiting to start is not idling",
    ),
    Plant(
        "an edited stall is not looked at",
        "proxy.bodies.body:Body._timeline_of",
        "return self._timeline.replaced(new.silences, new.cut_after_bytes, sent, now)",
        "return self._timeline",
        "a stall of an hour becomes one of a second",
    ),
    Plant(
        "an added cut is not looked at",
        "proxy.bodies.body:Body._take_hold",
        "if (new.silences, new.cut_after_bytes) != (old.silences, old.cut_after_bytes):",
        "if new.silences != old.silences:",
        "a cut is added",
    ),
    Plant(
        "the newest response sets everybody's rate",
        "policy.effects.rate:limits_of",
        'if rule.then.from_ == "response":',
        "if False:",
        "stages of each response, and a rate that is shared",
    ),
    Plant(
        "what goes on after the proxy stops is told as complete",
        "proxy.engine:Engine.stop",
        'body.close("stopped")',
        'body.close("complete")',
        "the proxy stops under a slowed body",
    ),
    Plant(
        "one start more than the limit",
        "pacing.starts:StartLimiter.free_at",
        "if len(self._starts) < self._slots:",
        "if len(self._starts) <= self._slots and not self._next:",
        "several limits on starts",
    ),
    Plant(
        "a command changes all limits",
        "policy.schema:_with_rate",
        "if limit is narrowest",
        "if limit",
        "a command changes a nested rate",
    ),
    Plant(
        "windows are limited where no rule has an upload",
        "proxy.flow_control:PacedHttp2Server.might_pace",
        "return type(self).paces_uploads()",
        "return True",
        "an upload over HTTP/2, and no rule is for it",
    ),
    Plant(
        "the sender's reader is never started again",
        "proxy.bodies.body:Body._settle",
        "self.reader.resume()",
        "pass",
        "a rate is lowered under way",
    ),
    Plant(
        "the reader stays stopped after the end",
        "proxy.bodies.body:Body._let_reader_go",
        "reader.resume()",
        "pass",
        "a body is given up, and the connection goes on",
    ),
    Plant(
        "a body keeps its place in its budgets",
        "proxy.bodies.body:Body._withdraw",
        "if claim is not None:",
        "if claim is not None and claim.waiting:",
        "two share a rate, one after the other",
    ),
    Plant(
        "acknowledgements are not given",
        "proxy.http_stream:PacedStream._pass_bytes",
        "if waits and (size := body.to_acknowledge(len(data))):",
        "if False:",
        "a rate is raised under way, HTTP/2",
    ),
    Plant(
        "what has left is still held at inner budgets",
        "pacing.budgets:Budget.settle",
        "self._held -= size",
        "pass",
        "an outer budget holds up inner ones",
    ),
    Plant(
        "a request that is answered is streamed all the same",
        "proxy.http_stream:PacedStream.start_request_stream",
        "if self.flow.response is not None:",
        "if False:",
        "a block answers a request with a body",
    ),
    Plant(
        "a request without a body has an upload",
        "proxy.http_stream:PacedStream._request_headers",
        "look = self._look_at_request_with_body if has_body else self._look_at_request",
        "look = self._look_at_request_with_body",
        "requests without a body under an upload rule",
    ),
    Plant(
        "what is due is due again",
        "pacing.moments:reached_at",
        "return when if (when - since) * per_s >= missing else math.nextafter(when, math.inf)",
        "return math.nextafter(since, -math.inf)",
        "a machine that has long been up",
    ),
    Plant(
        "a late wake-up is lost in a nest",
        "pacing.schedule:Schedule._serve",
        "as_of = max(budget.next_due(), now - CATCH_UP_S)",
        "as_of = now",
        "nested rates with a small burst",
    ),
    Plant(
        "an upload outlives its origin",
        "proxy.http_stream:PacedStream._pass_headers",
        "if self.client_state == self.state_errored:",
        "if False:",
        "uploads to an origin that is not there",
    ),
    Plant(
        "what is streamed late is not counted",
        "proxy.http_stream:PacedStream._start_counted_response",
        "self._look_on()",
        "pass",
        "streamed late, and nobody matches",
    ),
)  # fmt: skip


def _function(where: str) -> FunctionType:
    module, _, path = where.partition(":")
    found: Any = importlib.import_module(f"mitmthrottle.{module}")
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    if isinstance(found, property):
        found = found.fget
    if not isinstance(found, FunctionType):
        raise TypeError(f"{where} is no function")
    return found


def _compiled(function: FunctionType, plant: Plant) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    lines = source.splitlines()
    places = [
        index for index, line in enumerate(lines) if line.split("  # ")[0].strip() == plant.line
    ]
    if len(places) != 1:
        raise LookupError(
            f"`{plant.line}` stands {len(places)} times in {plant.where}: plant "
            f"`{plant.name}` where its idea lives now"
        )
    line = lines[places[0]]
    lines[places[0]] = line[: len(line) - len(line.lstrip())] + plant.instead
    tree = ast.parse("\n".join(lines))
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    # `super()` and names of a surrounding function are cells: make them so here too.
    cells = function.__code__.co_freevars
    maker = ast.parse(f"def make({', '.join(cells)}):\n    pass").body[0]
    assert isinstance(maker, ast.FunctionDef)
    maker.body = [definition, *ast.parse(f"return {definition.name}").body]
    for child in maker.body:
        if isinstance(child, ast.Expr):
            raise TypeError(child)
    wrapped = ast.Module([maker], [])
    maker.body[1] = ast.Return(ast.Name(definition.name, ast.Load()))
    flags = __future__.annotations.compiler_flag
    code = compile(ast.fix_missing_locations(wrapped), f"<{plant.name}>", "exec", flags)
    made: dict[str, Any] = {}
    exec(code, dict(function.__globals__), made)
    planted: FunctionType = made["make"](*(None for _ in cells))
    if planted.__code__.co_freevars != cells:
        raise TypeError(
            f"{plant.where} has other cells than before: {planted.__code__.co_freevars}"
        )
    return planted.__code__


@contextmanager
def planted(plant: Plant) -> Iterator[None]:
    """While this lasts, the fault is there."""
    function = _function(plant.where)
    code, function.__code__ = function.__code__, _compiled(function, plant)
    try:
        yield
    finally:
        function.__code__ = code


def found(plant: Plant, shows: str | int | None = None) -> list[str]:
    """What the simulator says while the fault is there."""
    shows = plant.shows if shows is None else shows
    steps = STORIES[shows] if isinstance(shows, str) else scenario(shows)
    with planted(plant):
        outcome = examine(shows if isinstance(shows, int) else 1, steps)
    return [str(fault) for fault in outcome.faults]


def search(plant: Plant, seconds: float = 60.0) -> int | None:
    """The first seed that shows it."""
    until = time.monotonic() + seconds
    for seed in range(100_000, 200_000):
        if time.monotonic() > until:
            return None
        if found(plant, seed) and not examine(seed, scenario(seed)).faults:
            return seed
    return None


def main() -> int:
    chosen = sys.argv[2:] if sys.argv[1:2] == ["--search"] else None
    missed = 0
    for plant in PLANTS:
        if chosen is not None:
            if not chosen or plant.name in chosen:
                began = time.monotonic()
                print(
                    f"{plant.name}: seed {search(plant)}, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
            continue
        try:
            said = found(plant)
        except LookupError as error:
            said = []
            print(f"ERROR   {error}")
        missed += not said
        print(
            f"{'found ' if said else 'MISSED'}  {plant.name}: {said[0][:110] if said else ''}",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
