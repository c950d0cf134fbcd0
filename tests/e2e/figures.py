"""What was measured, kept until the run's end and printed there, to be quoted.

Rule: one line a figure, `figure: name value unit`, whether the test that measured it passed or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Figures:
    """The figures of one run, in the order of their coming."""

    lines: list[str] = field(default_factory=list)

    def add(self, name: str, value: float | str, unit: str = "") -> None:
        """`name` says what was measured and where; a float is rounded to four digits."""
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        self.lines.append(f"figure: {name} {shown} {unit}".rstrip())
