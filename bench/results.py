"""Where results are kept, and how a table is printed.

Rule: a result is a JSON file in bench/results with what it was measured on; the tables and plots
are made from these files only.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mitmproxy.version
from rich import box
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent / "results"

console = Console(highlight=False, width=None if os.isatty(1) else 150)


def machine() -> dict[str, str]:
    """What a reader must know to judge a figure."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": f"{os.cpu_count()} cores, {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "mitmproxy": mitmproxy.version.VERSION,
        "mitmthrottle": version("mitmthrottle"),
    }


def keep(name: str, **facts: Any) -> Path:
    """Write a result."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    measured = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    text = json.dumps({"measured": measured, "machine": machine(), **facts}, indent=1)
    path.write_text(_compact(text) + "\n")
    return path


def read(name: str) -> dict[str, Any] | None:
    """A result, or None where that bench was not run yet."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join("---" if not n else "---:" for n in range(len(columns))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _compact(text: str) -> str:
    """Short lists of numbers on one line: a diff of results is read by people."""
    out: list[str] = []
    inner: list[str] | None = None
    for line in text.splitlines():
        stripped = line.strip()
        if inner is not None:
            inner.append(stripped)
            if stripped.startswith("]"):
                out.append(" ".join(inner))
                inner = None
            elif stripped.endswith(("[", "{")):
                out += inner
                inner = None
        elif stripped.endswith("["):
            inner = [line]
        else:
            out.append(line)
    return "\n".join(out)
