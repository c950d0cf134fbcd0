"""The modules of a package that is a table: each file in its folder is imported.

The one rule: a file that is there is in the table; there is no list to forget it in.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module


def import_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, by name."""
    for module in pkgutil.iter_modules(path):
        import_module(f"{package}.{module.name}")
