"""The `then` of a rule: its effects, as values.

The one rule: a rule has at least one effect, and `pass` goes with nothing else. Each effect has
a file of its own (limits.py, delay.py, …) and one field here; how to pace is not told here.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from mitmthrottle.policy.conflicts import refuse_conflicts
from mitmthrottle.policy.effects.block import BlockField, PassField
from mitmthrottle.policy.effects.cut import Cut
from mitmthrottle.policy.effects.delay import DelayField
from mitmthrottle.policy.effects.quota import Quota
from mitmthrottle.policy.effects.rate import AsField, BurstField, RateField, refuse_repeated
from mitmthrottle.policy.effects.requests import RequestsField
from mitmthrottle.policy.effects.stages import Stage, StagesField, Timeline
from mitmthrottle.policy.effects.stall import Stall
from mitmthrottle.policy.effects.upload import Upload
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import OneOrMany, Strict, parsed, word_of
from mitmthrottle.policy.library.presets import preset_name, presets
from mitmthrottle.policy.trace import TRACE_SUFFIXES, read_trace

_BESIDE_BLOCK = ("delay", "quota", "upload")  # of a rule's own effects
TRACES = "traces"  # key of the validation context: stages of each trace that was read already

_preset = parsed(preset_name, "a preset", "wpt/3gslow")
_from = parsed(word_of(("policy", "response"), "beginning"), "when stages begin", "response",
               enum=["policy", "response"])  # fmt: skip


def _path(text: str) -> str:
    if not text.strip():
        raise ValueError("names no file: write for example `trace: train.csv`")
    if not text.strip().lower().endswith(TRACE_SUFFIXES):
        raise ValueError(f"`{text}` is no CSV file: name one, as `train.csv`")
    return text.strip()


_trace = parsed(_path, "the path of a CSV file", "train.csv")


class Then(Strict):
    """What happens to a response that a rule matched. `burst` is in bytes."""

    like: Annotated[str, _preset[0], _preset[2]] | None = None
    rate: Annotated[tuple[RateField, ...], AfterValidator(refuse_repeated), OneOrMany()] = ()
    burst: BurstField | None = None
    as_: AsField = Field("shaper", alias="as")
    delay: DelayField | None = None
    stall: Stall | None = None
    cut: Cut | None = None
    block: BlockField | None = None
    requests: RequestsField = ()
    quota: Quota | None = None
    stages: StagesField = ()
    trace: Annotated[str, _trace[0], _trace[2]] | None = None
    from_: Annotated[Literal["policy", "response"], _from[0], _from[2]] = Field(
        "policy", alias="from"
    )
    upload: Upload | None = None
    pass_: PassField = Field(False, alias="pass")

    @property
    def stages_repeat(self) -> bool:
        """Whether the first stage follows the last (a trace's do)."""
        return self.trace is not None

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if value == "pass":
            raise ValueError("must be a mapping: did you mean `{pass: true}`?")
        return value

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> Self:
        refuse_conflicts(self)
        if self.trace is not None:
            self._fill("stages", _stages_of(self.trace, info))
        if self.like is not None:
            preset = presets()[self.like]
            if not self.rate:
                self._fill("rate", preset.rate)
            if self.delay is None:
                self._fill("delay", preset.delay)
            if self.upload is None:
                self._fill("upload", Upload.model_construct({"rate"}, rate=preset.upload_rate))
            elif not self.upload.rate:
                self._fill("upload", self.upload.filled({"rate": preset.upload_rate}))
        return self

    def _fill(self, name: str, value: object) -> None:
        """As `filled`, of this object itself."""
        # the one place where a frozen model is still being made
        object.__setattr__(self, name, value)

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Self:
        """As pydantic's, without what was worked out of the values before."""
        copied = super().model_copy(update=update, deep=deep)
        for worked_out in ("_timeline", "_at"):
            copied.__dict__.pop(worked_out, None)
        return copied

    def at(self, elapsed_s: float) -> tuple[Then, float]:
        """(the effects in force, until when) in seconds since the stages began.

        The effects have no stages; until is infinite where they hold for ever. Without stages
        that is this `then` itself. The same stage always gives the same object.
        """
        if not self.stages:
            return self, math.inf
        index, until = self._timeline.at(elapsed_s)
        if index not in self._at:
            self._at[index] = self._in_stage(None if index is None else self.stages[index])
        return self._at[index], until

    @cached_property
    def _timeline(self) -> Timeline:
        return Timeline(self.stages, self.stages_repeat)

    @cached_property
    def _at(self) -> dict[int | None, Then]:
        return {}

    def _in_stage(self, stage: Stage | None) -> Then:
        """The rule's own effects with a stage's over them; None: after the last."""
        own = {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name not in ("like", "stages", "trace", "from_", "pass_")
        }
        if stage is not None:
            own["block"] = None
            if stage.pass_:
                own = {}
            elif stage.block is not None:
                own = {name: own[name] for name in _BESIDE_BLOCK}
            own |= {name: getattr(stage, name) for name in stage.effects}
        elif self.block is not None:
            own = {name: own[name] for name in ("block", *_BESIDE_BLOCK)}
        doing = ("rate", "delay", "stall", "cut", "block", "requests", "upload", "pass_")
        if not any(own.get(name) for name in doing):
            own = {"pass_": True}
        return Then.model_construct(set(own), **own)

    def describe(self) -> str:
        """`128 kbit/s per response, delay 300 ms`."""
        if self.pass_:
            return "pass"
        parts = [f"like {self.like}"] if self.like else []
        parts += [limit.describe() for limit in self.rate]
        if self.burst is not None:
            parts.append(f"burst {units.format_size(self.burst)}")
        if self.as_ == "policer":
            parts.append("policed")
        for name in ("delay", "stall", "cut"):
            effect = getattr(self, name)
            if effect is not None:
                parts.append(f"{name} {effect.describe()}")
        if self.block is not None:
            parts.append(f"block {self.block}")
        parts += [f"{limit.describe()} may start" for limit in self.requests]
        if self.upload is not None:
            parts.append(f"upload {self.upload.describe()}")
        if self.trace is not None:
            parts.append(f"trace {self.trace} ({len(self.stages)} stages)")
        elif self.stages:
            staged = "; ".join(stage.describe() for stage in self.stages)
            began = " of each response" if self.from_ == "response" else ""
            parts.append(f"stages{began} ({staged})")
        if self.quota is not None:
            parts.append(f"after {self.quota.describe()}")
        return ", ".join(parts)


def _stages_of(trace: str, info: ValidationInfo) -> tuple[Stage, ...]:
    known: dict[str, tuple[Stage, ...]] = (info.context or {}).get(TRACES, {})
    if trace in known:
        return known[trace]
    stages, problems = read_trace(Path(trace), trace)
    if problems:
        raise ValueError(f"`{trace}` cannot be used: " + "; ".join(map(str, problems)))
    return stages
