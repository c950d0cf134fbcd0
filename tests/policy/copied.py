"""A copy of the product and of some of its tests, to which a test adds files.

The tables of effects and conditions are made when the package is imported, so what is added needs
a process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_COPIED = ("addons", "docs", "policies", "tests/policy", "tests/proxy")
_FILES = ("README.md", "policy.schema.json", "CHANGELOG.md", "pyproject.toml", "tests/__init__.py")


def copied(folder: Path) -> Path:
    """The folder, with the product in it."""
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in the copy; it sees the copy's packages only."""
    env = os.environ | {"PYTHONPATH": str(folder / "addons"), "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=100
    )


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, *arguments)
