"""The shape of the house: imports point one way, and no module grows beyond a sitting."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
"""300 is what to aim at; this is where a module has surely become two."""

MODULES = sorted((ROOT / "addons").rglob("*.py"))


def test_imports_point_one_way() -> None:
    """The contracts of pyproject.toml; the output names the chain of a broken one.

    In a process of its own: it would silence the loggers of whatever was imported before.
    """
    script = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_contracts_are_there() -> None:
    """A lint of nothing would pass as well."""
    text = (ROOT / "pyproject.toml").read_text()
    assert text.count("[[tool.importlinter.contracts]]") >= 2


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_for(module: Path) -> None:
    text = module.read_text()
    if text.strip() and module.name != "throttle.py":
        assert text.startswith('"""'), "it should open with what it is for"


def test_whatever_starts_programs_is_where_make_e2e_looks_for_it() -> None:
    (folders,) = re.findall(r"^E2E := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    marked = [
        path.relative_to(ROOT)
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != Path(__file__) and "pytest.mark.e2e" in path.read_text()
    ]
    assert len(marked) > 30
    assert all(any(path.is_relative_to(each) for each in folders.split()) for path in marked)
