"""Presets: links of known tools, under the names of their sources (`wpt/3gslow`).

The one rule: a preset's numbers are its source's, in the source's units; data files in
`policies/presets` say where they come from. A preset describes a link, so all that a client
fetches shares its rate, and its round trip is waited once, before the first byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mitmthrottle.policy.language.units import (
    did_you_mean,
    format_duration,
    format_rate,
    parse_duration,
    parse_rate,
)
from mitmthrottle.policy.language.yamltree import read_tree
from mitmthrottle.policy.library.shipped import policy_folder


@dataclass(frozen=True, slots=True)
class Preset:
    """Rates in bytes per second, round trip in seconds; `source` and `url` say whose they are."""

    name: str
    down_bytes_per_s: float
    up_bytes_per_s: float
    rtt_s: float
    source: str
    url: str
    retrieved: str
    notes: str

    def describe(self) -> str:
        """`780 kbit/s down, 330 kbit/s up, 200 ms`."""
        return (
            f"{format_rate(self.down_bytes_per_s)} down, {format_rate(self.up_bytes_per_s)} up, "
            f"{format_duration(self.rtt_s)}"
        )


@lru_cache(maxsize=1)
def presets() -> Mapping[str, Preset]:
    """All presets by name, in the order of their files."""
    found: dict[str, Preset] = {}
    for path in sorted((policy_folder() / "presets").glob("*.yaml")):
        found.update(_read(path))
    return MappingProxyType(found)


def preset_name(text: str) -> str:
    """The name of a preset; ValueError, with the nearest one, for any other."""
    name = text.strip().lower()
    known = presets()
    if name in known:
        return name
    listed = [other for other in known if other.startswith(name.partition("/")[0] + "/")]
    tails = [other for other in known if other.partition("/")[2] == name]
    near = f": did you mean `{tails[0]}`?" if tails else did_you_mean(name, [*known])
    shown = listed[:6] or [*known][:3]
    raise ValueError(
        f"`{text}` is no preset{near or ': one of ' + ', '.join(f'`{each}`' for each in shown)}"
        + ("" if near else "; `mitmthrottle policies` lists all")
    )


def _read(path: Path) -> dict[str, Preset]:
    """A data file of ours; a test reads them all, so a slip in one is not met by users."""
    slips: list[str] = []
    root = read_tree(
        path.read_text(encoding="utf-8"), lambda line, _, text: slips.append(f"{line}: {text}")
    )
    if root is None or slips:
        raise ValueError(f"{path}: {'; '.join(slips) or 'empty'}")
    data: dict[str, Any] = root.data
    return {
        f"{path.stem}/{name}": Preset(
            name=f"{path.stem}/{name}",
            down_bytes_per_s=parse_rate(item["down"]),
            up_bytes_per_s=parse_rate(item["up"]),
            rtt_s=_round_trip(item),
            source=data["source"],
            url=data["url"],
            retrieved=data["retrieved"],
            notes=" ".join(filter(None, (data.get("notes"), item.get("notes")))),
        )
        for name, item in data["presets"].items()
    }


def _round_trip(item: dict[str, str]) -> float:
    """Some sources give the round trip, some the delay in each direction."""
    if "rtt" in item:
        return parse_duration(item["rtt"])
    return parse_duration(item["delay_down"]) + parse_duration(item["delay_up"])
