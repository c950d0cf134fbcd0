"""docs/compare.md names every option and every field of the JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mitmthrottle.compare.as_json import as_json
from mitmthrottle.compare.options import compare_command

from .made import comparison, run, slowed_run, video

DOCS = (Path(__file__).parents[2] / "docs/compare.md").read_text()


def names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


def test_every_field_of_the_json_is_documented() -> None:
    stalling = video(1.0, (2.0, 1.0))
    made = as_json(comparison([run(videos=(stalling,))], [slowed_run(videos=(stalling,))]))
    told = set(re.findall(r"`(\w+)`", DOCS.partition("## JSON")[2]))
    assert set(names(made)) - told == set()


def test_every_option_is_documented() -> None:
    options = {option for each in compare_command.params for option in each.opts if "--" in option}
    assert options - set(re.findall(r"`(--[\w-]+)", DOCS)) == set()
