"""What a release needs: tag, pyproject.toml, CITATION.cff and CHANGELOG.md say one version.

    python tools/release.py --check v0.1.0     says what does not agree (status 1)
    python tools/release.py --notes v0.1.0     prints that version's part of CHANGELOG.md

Rule: a version is written by hand, in a commit that somebody reads; this only compares.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+")
_HEADING = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def notes(changelog: str) -> dict[str, str]:
    """The text of each version, the newest first; `Unreleased` is one.

    >>> notes("# Log\\n\\n## [Unreleased]\\n\\n- a\\n\\n## [0.1.0] - 2026-01-02\\n\\n- b\\n")
    {'Unreleased': '- a', '0.1.0': '- b'}
    """
    found = list(_HEADING.finditer(changelog))
    ends = [each.start() for each in found[1:]] + [len(changelog)]
    return {
        each[1]: changelog[each.end() : end].strip() for each, end in zip(found, ends, strict=True)
    }


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """Why this tag cannot be released; nothing if it can."""
    version = tag.removeprefix("v")
    if not tag.startswith("v") or not VERSION.fullmatch(version):
        return [f"`{tag}` is no tag of a release: write it as `v0.1.0`"]
    found = []
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    if declared != version:
        found.append(f"pyproject.toml says {declared}: write {version}")
    cited = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text(), re.MULTILINE)
    if cited is None or cited[1] != version:
        found.append(f"CITATION.cff says {cited and cited[1]}: write {version}")
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not notes(text).get(version):
        found.append(f"CHANGELOG.md has nothing under `## [{version}] - DATE`")
    elif not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE):
        found.append(f"CHANGELOG.md has no date for {version}: write `## [{version}] - 2026-01-31`")
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("--check", "--notes"):
        print("python tools/release.py --check TAG, or --notes TAG", file=sys.stderr)
        return 2
    what, tag = arguments
    found = problems(tag)
    for problem in found:
        print(problem, file=sys.stderr)
    if what == "--notes" and not found:
        print(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))[tag.removeprefix("v")])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
