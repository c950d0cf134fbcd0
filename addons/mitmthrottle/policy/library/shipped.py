"""Where policies are: the user's files, and those that come with mitmthrottle.

The one rule: what looks like a path is a path; a bare word is a shipped policy's name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mitmthrottle.policy.language.problems import PolicyError, Problem
from mitmthrottle.policy.language.units import did_you_mean

_PACKAGE = Path(__file__).resolve().parents[2]
# a clone has them beside `addons`, a wheel inside the package
_FOLDERS = (_PACKAGE.parent.parent / "policies", _PACKAGE / "policies")
# and the schema beside these
_HOMES = (_PACKAGE.parent.parent, _PACKAGE)
SCHEMA = "policy.schema.json"
_SCHEMA_LINE = re.compile(r"\A# yaml-language-server: \$schema=.*\n")
_SUFFIXES = (".yaml", ".yml")


def policy_folder() -> Path:
    """Where the policies are that come with mitmthrottle; their presets are in `presets`."""
    return next((folder for folder in _FOLDERS if any(folder.glob("*.yaml"))), _FOLDERS[0])


def shipped_policies() -> list[Path]:
    """The policies that come with mitmthrottle, by name."""
    return sorted(policy_folder().glob("*.yaml"), key=lambda path: path.stem)


def as_a_start(path: Path) -> str:
    """A shipped policy's text, for a file of one's own anywhere: the line that names the schema
    for editors names where that is on this machine, and is left out where it is not."""
    text = path.read_text(encoding="utf-8")
    schema = next((folder / SCHEMA for folder in _HOMES if (folder / SCHEMA).exists()), None)
    return _SCHEMA_LINE.sub(
        f"# yaml-language-server: $schema={schema.as_uri()}\n" if schema else "", text, count=1
    )


def find_policy(name_or_path: str) -> Path:
    """The file meant; PolicyError for a word that names no shipped policy.

    A path need not exist: load_policy says so in its own words.
    """
    looks_like_path = name_or_path.endswith(_SUFFIXES) or any(
        separator in name_or_path for separator in (os.sep, os.altsep) if separator
    )
    if looks_like_path or not name_or_path or Path(name_or_path).exists():
        return Path(name_or_path).expanduser()
    names = {path.stem: path for path in shipped_policies()}
    if name_or_path in names:
        return names[name_or_path]
    near = did_you_mean(name_or_path, list(names))
    listed = ", ".join(f"`{name}`" for name in names) or "none"
    raise PolicyError(
        [
            Problem(
                name_or_path,
                0,
                0,
                "no such file, and no shipped policy has this name"
                + (near or f": give a path, or one of {listed}"),
            )
        ]
    )
