"""The `stages` of a rule: effects that change as time goes on.

The one rule: in a stage its own keys stand over the rule's, key by key. A rule's own `block` does
not reach into a stage (it is what comes after the last one). A stage that blocks keeps the rule's
`delay`, `quota` and `upload`, one that says `pass` keeps nothing. After the last stage the rule's
own effects hold; with none, the response is left alone. A `trace` is a recording of stages, in a
CSV file; they begin again instead. Which effects a stage may have, they say themselves.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from mitmthrottle.policy.effects import (
    BodyPart,
    Effect,
    EffectSet,
    Key,
    mapping_of,
    register,
)
from mitmthrottle.policy.effects.rate import RateLimit
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import OneOrMany, Seconds, parsed, word_of
from mitmthrottle.policy.language.problems import Problem
from mitmthrottle.policy.language.trace import TRACE_SUFFIXES, Step, read_trace
from mitmthrottle.policy.language.yamltree import Node, Report

TRACES = "traces"  # key of the validation context: the steps of each trace that was read already


def _some_time(length_s: float) -> float:
    if length_s <= 0:
        raise ValueError("of zero is no stage: give a duration, or remove the stage")
    return length_s


_Length = Annotated[Seconds, AfterValidator(_some_time)] | None


class Stage(mapping_of("stage", for_s=(_Length, Field(None, alias="for")))):  # type: ignore[misc]
    """What holds for `for_s` seconds (None, of the last stage only: from then on)."""

    leaves_open: ClassVar[bool] = True

    @property
    def effects(self) -> frozenset[str]:
        """The fields that this stage gives, without its length."""
        return frozenset(self.model_fields_set - {"for_s"})

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not self.effects:
            raise ValueError(
                "has no effect: add `rate`, `delay` or `block`, or `pass: true` for full speed"
            )
        for reason in self.conflicts():
            raise ValueError(reason)
        return self

    def describe(self) -> str:
        """`60 s: 5 Mbit/s per response`."""
        length = "then" if self.for_s is None else units.format_duration(self.for_s)
        return f"{length}: {', '.join(self.described())}"


def _only_last_open(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    for number, stage in enumerate(stages[:-1], 1):
        if stage.for_s is None:
            raise ValueError(
                f"has no `for` in stage {number} of {len(stages)}, which so never ends: "
                "add `for: 60 s`, only the last stage may go without"
            )
    if len(stages) == 1 and stages[0].for_s is None:
        raise ValueError(
            "has a single stage without `for`, which always holds: give its effects without "
            "`stages`, or add `for: 60 s`"
        )
    return stages


StagesField = Annotated[tuple[Stage, ...], AfterValidator(_only_last_open), OneOrMany()]


class Timeline:
    """Which stage it is: built once from the lengths of stages, then asked by time."""

    __slots__ = ("_count", "_ends", "_repeat")

    def __init__(self, stages: Iterable[Stage], repeat: bool) -> None:
        lengths = [math.inf if stage.for_s is None else stage.for_s for stage in stages]
        self._ends = list(accumulate(lengths))
        self._count = len(lengths)
        self._repeat = repeat

    def at(self, elapsed_s: float) -> tuple[int | None, float]:
        """(index of the stage, or None after the last; until when), both in elapsed seconds."""
        elapsed_s = elapsed_s if elapsed_s > 0 else 0.0  # and for what is no number
        if not self._count:
            return None, math.inf
        whole = self._ends[-1]
        base = 0.0
        if self._repeat and whole <= elapsed_s < math.inf:
            base = whole * math.floor(elapsed_s / whole)
        index = bisect_right(self._ends, elapsed_s - base)
        if index < self._count and base + self._ends[index] <= elapsed_s:
            index += 1  # rounding put the end of this one a hair before now
        if index < self._count:
            return index, base + self._ends[index]
        if self._repeat and elapsed_s < math.inf:
            until = base + whole + self._ends[0]
            return 0, until if until > elapsed_s else math.inf
        return (None, math.inf) if whole < math.inf else (self._count - 1, math.inf)


_from = parsed(word_of(("policy", "response"), "beginning"), "when stages begin", "response",
               enum=["policy", "response"])  # fmt: skip


def _path(text: str) -> str:
    if not text.strip():
        raise ValueError("names no file: write for example `trace: train.csv`")
    if not text.strip().lower().endswith(TRACE_SUFFIXES):
        raise ValueError(f"`{text}` is no CSV file: name one, as `train.csv`")
    return text.strip()


_trace = parsed(_path, "the path of a CSV file", "train.csv")


@register
class StagesEffect(Effect):
    """`stages`, or a `trace`, with its `from`."""

    keys: ClassVar = {
        "stages": Key(StagesField, (), "effects that change with time"),
        "trace": Key(
            Annotated[str, _trace[0], _trace[2]] | None,
            None,
            "a CSV file of rates over time, repeated",
        ),
        "from_": Key(
            Annotated[Literal["policy", "response"], _from[0], _from[2]],
            "policy",
            "what `stages` and `trace` count from",
            alias="from",
        ),
    }
    place = 90
    words_place = 120
    example = "{stages: [{for: 60 s, rate: 5 Mbit/s}, {rate: 1 Mbit/s}], from: response}"
    in_stages = "never"

    def given(self, part: Any) -> bool:
        return bool(part.stages or part.trace)

    def describe(self, part: Any) -> Iterator[str]:
        if part.trace is not None:
            yield f"trace {part.trace} ({len(part.stages)} stages)"
        else:
            staged = "; ".join(stage.describe() for stage in part.stages)
            began = " of each response" if part.from_ == "response" else ""
            yield f"stages{began} ({staged})"

    def explain(self, part: Any) -> dict[str, Any]:
        return {
            "stages": [{"for_s": stage.for_s, **stage.explained()} for stage in part.stages],
            "stages_from": part.from_,
            "stages_repeat": part.stages_repeat,
        }

    def gives_rate(self, part: Any) -> bool:
        return part.trace is not None or any(stage.rate for stage in part.stages)

    def conflicts(self, part: Any) -> Iterator[str]:
        if part.stages and part.trace:
            yield "`trace` is a recording of stages, but `stages` is given too: keep one of them"
        if "from_" in part.model_fields_set and not (part.stages or part.trace):
            yield (
                f"`from: {part.from_}` says when `stages` or a `trace` begin: add one, or leave "
                "it out"
            )
        if part.block is not None and (
            part.trace or (part.stages and part.stages[-1].for_s is None)
        ):
            last = "a `trace` begins anew" if part.trace else "the last stage has no `for`"
            yield f"`block` would come after the stages, but {last}: remove one of them"

    def fill(self, part: Any, info: ValidationInfo) -> dict[str, Any]:
        if part.trace is None:
            return {}
        steps: dict[str, tuple[Step, ...]] = (info.context or {}).get(TRACES, {})
        if part.trace in steps:
            return {"stages": tuple(map(_stage, steps[part.trace]))}
        found, problems = read_trace(Path(part.trace), part.trace)
        if problems:
            raise ValueError(f"`{part.trace}` cannot be used: " + "; ".join(map(str, problems)))
        return {"stages": tuple(map(_stage, found))}

    def nested(self, part: Any) -> Iterator[tuple[tuple[str | int, ...], EffectSet]]:
        for index, stage in enumerate(part.stages if part.trace is None else ()):
            yield ("stages", index), stage

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        return {}  # a stage that is in force is a `then` of its own: `Then.at`

    def read_files(
        self, thens: Iterable[Node], folder: Path, report: Report
    ) -> tuple[dict[str, Any], list[Problem]]:
        """The steps of every trace that a rule names (none of one that has problems)."""
        traces: dict[str, tuple[Step, ...]] = {}
        problems: list[Problem] = []
        for then in thens:
            given = (then.keys or {}).get("trace")
            if given is None or not isinstance(given[1].data, str):
                continue
            text = given[1].data.strip()
            if text not in traces and text.lower().endswith(TRACE_SUFFIXES):
                traces[text], found = read_trace(folder / text, str(folder / text))
                for problem in found:
                    if problem.line:
                        problems.append(problem)
                    else:  # of the file as a whole: told where it is named
                        report(given[1].line, given[1].column, f"`{text}`: {problem.message}")
        return {TRACES: traces}, problems


def effects_in(then: Any, stage: Stage | None) -> dict[str, Any]:
    """The fields of a rule's own effects with a stage's over them; None: after the last."""
    rules_own = [effect for effect in then.table if effect.in_stages != "never"]
    if stage is not None:
        if stage.pass_:
            rules_own = []
        elif stage.block is not None:
            rules_own = [effect for effect in rules_own if effect.beside_block]
        rules_own = [effect for effect in rules_own if effect.in_stages == "always"]
    elif then.block is not None:
        rules_own = [effect for effect in rules_own if effect.beside_block]
    own = {name: getattr(then, name) for effect in rules_own for name in effect.keys}
    if stage is not None:
        own |= {name: getattr(stage, name) for name in stage.effects}
    if not any(own.get(effect.field) for effect in then.table if effect.acts):
        return {"pass_": True}
    return own


def _stage(step: Step) -> Stage:
    limit = RateLimit.model_construct(
        {"limit_bytes_per_s"}, limit_bytes_per_s=step.rate_bytes_per_s
    )
    stage: Stage = Stage.model_construct({"for_s", "rate"}, for_s=step.for_s, rate=(limit,))
    return stage
