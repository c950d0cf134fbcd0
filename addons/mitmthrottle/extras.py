"""How to get what a command needs beyond the proxy.

Rule: the remedy works where it is read: in a clone, with the clone's own pins.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def remedy(extra: str) -> str:
    """A command line for a shell."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    if not (_ROOT / "pyproject.toml").is_file():
        return f"{pip} 'mitmthrottle[{extra}]'"
    pins = shlex.quote(str(_ROOT / "constraints.txt"))
    return f"{pip} -c {pins} -e {shlex.quote(f'{_ROOT}[{extra}]')}"
