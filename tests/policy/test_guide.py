"""docs/adding-an-effect.md, done as it says."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from .copied import ROOT, copied, run

TEXT = (ROOT / "docs" / "adding-an-effect.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- (file|in|run)(?:: ([^\n]*))? -->\n(`{3,})\w+\n(.*?)\n\3\n", re.DOTALL)
CLI = "from mitmthrottle.cli import main; main()"
FOUND = [(found[1], found[2], found[4] + "\n") for found in BLOCK.finditer(TEXT)]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with all that the page says written."""
    folder = copied(tmp_path_factory.mktemp("guide"))
    for kind, where, text in FOUND:
        if kind == "file":
            assert not (folder / where).exists()
            (folder / where).write_text(text)
        elif kind == "in":
            name, side, heading = re.split(", (before|after): ", where)
            before, line, after = (folder / name).read_text().partition(f"\n{heading}\n")
            assert line
            lines = (text, line.lstrip()) if side == "before" else (line.lstrip(), text.rstrip())
            (folder / name).write_text(f"{before}\n{''.join(lines)}{after}")
    return folder


def commands() -> list[str]:
    return [line for kind, _, text in FOUND if kind == "run" for line in text.splitlines()]


def test_the_page_has_what_is_followed() -> None:
    assert [kind for kind, _, _ in FOUND].count("file") == 4
    assert len(commands()) == 5


def test_each_command_does_what_the_page_says(followed: Path) -> None:
    said: dict[str, str] = {}
    for line in commands():
        command, _, output = line.partition(" > ")
        name, *arguments = shlex.split(command)
        start = [sys.executable] if name == "python" else [sys.executable, "-c", CLI]
        done = run(followed, *start, *arguments)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        if output:
            (followed / output).write_text(done.stdout)
        said[command] = done.stdout
    assert "jitter up to 1 s every 100 kB" in said["mitmthrottle explain jitter.yaml "
                                                  "https://example.com/"]  # fmt: skip
    assert "query: query `` does not match `*utm_source*`" in "".join(said.values())
    assert '"jitter"' in (followed / "policy.schema.json").read_text()


def test_one_file_of_the_product_is_written_for_each() -> None:
    product = [where for kind, where, _ in FOUND if kind == "file" and where.startswith("addons/")]
    assert len(product) == 2
