"""What is made of each kind of client: `python tests/policy/devices_matrix.py` prints the tables
of docs/devices.md, which a test compares.

Rule: the list of agents (agents.tsv) is our own, in the syntaxes that real clients use.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mitmthrottle.policy.detect.devices import DEVICES, device_of

NONE = "none"
CLASSES = (*DEVICES, NONE)


def agents() -> list[tuple[str, str, str]]:
    """(class of device, kind of client, User-Agent)"""
    lines = (Path(__file__).parent / "agents.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(device, kind, agent) for device, kind, agent in rows]


def found(agent: str) -> str:
    """The class that our rules give it."""
    return device_of({"user-agent": agent}) or NONE


def kinds() -> dict[tuple[str, str], tuple[int, int]]:
    """Of each (class, kind): how many are right, of how many."""
    right: Counter[tuple[str, str]] = Counter()
    every: Counter[tuple[str, str]] = Counter()
    for device, kind, agent in agents():
        every[device, kind] += 1
        right[device, kind] += found(agent) == device
    return {key: (right[key], every[key]) for key in every}


def tables() -> str:
    """The confusion matrix, and a line for each kind, in Markdown."""
    matrix = Counter((device, found(agent)) for device, _, agent in agents())
    lines = [
        "| is \\ is taken for | " + " | ".join(CLASSES) + " |",
        "|---|" + "---|" * len(CLASSES),
    ]
    for device in CLASSES:
        cells = [str(matrix[device, other] or "") for other in CLASSES]
        lines.append(f"| {device} | " + " | ".join(cells) + " |")
    lines += ["", "| class | kind | right | of |", "|---|---|---|---|"]
    lines += [
        f"| {device} | {kind} | {right} | {every} |"
        for (device, kind), (right, every) in kinds().items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(tables(), end="")
