"""What is wrong with a policy file, and where.

The one rule: a problem names its place and what would be right; all of them come at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong at one place of a policy; `str()` is `file:line:column: message`.

    A warning is of a policy that can be used, but surely not as its author thinks.
    """

    file: str
    """its path; `policy` for text and mappings"""
    line: int
    """from 1; 0: the file as a whole"""
    column: int
    """from 1"""
    message: str
    """what is wrong, and what would be right"""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        kind = "warning: " if self.severity == "warning" else ""
        return f"{self.file}:{self.line}:{self.column}: {kind}{self.message}"


class PolicyError(ValueError):
    """A policy that cannot be used; `str()` is one problem a line, and `problems` has them all."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
