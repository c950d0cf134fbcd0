"""CI: what workflows, hooks and forms name exists, and what pyproject.toml says is tried."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tools import release, versions

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
OF_THE_RUNNER = {"apt-get", "gh", "python"}
"""Programs that are there before a job begins."""


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def commands(path: Path) -> list[list[str]]:
    """Each line that a workflow runs, in words."""
    return [
        shlex.split(line)
        for job in read(path)["jobs"].values()
        for step in job["steps"]
        for line in step.get("run", "").splitlines()
    ]


def steps_of_run() -> list[str]:
    listed = subprocess.run(
        [ROOT / ".ci" / "run", "--list"], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def unknown(words: list[str]) -> list[str]:
    """What of a command there is not."""
    program, *arguments = words
    if program == ".ci/run":
        return [each for each in arguments if each not in steps_of_run()]
    if program == "make":
        return [each for each in arguments if each not in targets()]
    if program not in OF_THE_RUNNER:
        return [program]
    if program == "python":
        return [arguments[0]] if not (ROOT / arguments[0]).is_file() else []
    return []


def test_the_workflows_are_there() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]
    assert all(commands(path) for path in WORKFLOWS)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_each_command_of_a_workflow_exists(workflow: Path) -> None:
    assert [each for words in commands(workflow) for each in unknown(words)] == []


def test_a_command_that_there_is_not_would_be_found() -> None:
    assert unknown([".ci/run", "lint", "lnt"]) == ["lnt"]
    assert unknown(["make", "tests"]) == ["tests"]
    assert unknown(["tox"]) == ["tox"]
    assert unknown(["python", "tools/no.py"]) == ["tools/no.py"]


def test_every_step_is_in_a_job() -> None:
    """`versions` is what the matrix does."""
    called = {word for words in commands(WORKFLOWS[0]) if words[0] == ".ci/run" for word in words}
    assert called - {".ci/run"} == set(steps_of_run()) - {"versions"}


def test_a_step_that_there_is_not_is_refused_before_anything_runs() -> None:
    done = subprocess.run(
        [ROOT / ".ci" / "run", "lint", "lnt"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "`lnt` is no step of .ci/run: write one of lint test" in done.stderr


def test_each_step_is_a_function() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    defined = set(re.findall(r"^([a-z0-9_]+)\(\) \{", text, re.MULTILINE))
    assert {"quick_tests" if step == "test" else step for step in steps_of_run()} <= defined


def test_the_matrix_is_what_pyproject_says() -> None:
    matrix = read(WORKFLOWS[0])["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == versions.pythons() == ["3.12", "3.13", "3.14"]
    assert matrix["mitmproxy"] == ["", versions.mitmproxy_bounds()[0]]
    pinned = re.search(r"^mitmproxy==([0-9.]+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    oldest, beyond = map(numbers, versions.mitmproxy_bounds())
    assert oldest < numbers(pinned[1]) < beyond


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_releasing_page_says_what_was_tried() -> None:
    text = (ROOT / "docs" / "releasing.md").read_text()
    for version in (*versions.pythons(), versions.mitmproxy_bounds()[0]):
        assert version in text


def test_hooks_are_programs_of_the_developers_environment() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    packages = {"lint-imports": "import-linter", "python": "python"}
    for hook in repository["hooks"]:
        program, *arguments = shlex.split(hook["entry"])
        name = Path(program).name
        assert program == f".venv/bin/{name}"
        assert packages.get(name, name) in project
        if name == "python":
            assert unknown(["python", *arguments]) == []


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_a_form_has_what_its_readers_need(form: Path) -> None:
    if form.name == "config.yml":
        return
    found = read(form)
    assert {"name", "description", "body"} <= set(found)
    ids = [field["id"] for field in found["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    assert any(field.get("validations", {}).get("required") for field in found["body"])


def test_there_is_a_form_for_each_kind() -> None:
    assert {path.stem for path in FORMS} == {"bug", "config", "feature", "wrong-decision"}
    assert "mitmthrottle explain" in (GITHUB / "ISSUE_TEMPLATE" / "wrong-decision.yml").read_text()


def test_no_file_of_ci_names_a_registry() -> None:
    files = [*GITHUB.rglob("*.yml"), *(ROOT / ".ci").iterdir(), ROOT / ".pre-commit-config.yaml"]
    for path in files:
        if path.is_file():
            assert not re.search(r"pypi\.org|pythonhosted|npmjs|--index-url", path.read_text()), (
                path
            )


LOG = """\
# Changelog

## [Unreleased]

## [0.2.0] - 2026-03-01

### Added

- A thing.

## [0.1.0] - 2026-01-02

- Everything.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("title: it\nversion: 0.2.0\n")
    (tmp_path / "CHANGELOG.md").write_text(LOG)
    return tmp_path


def test_a_release_of_which_all_says_the_same(project: Path) -> None:
    assert release.problems("v0.2.0", project) == []
    assert release.notes(LOG) == {
        "Unreleased": "", "0.2.0": "### Added\n\n- A thing.", "0.1.0": "- Everything."
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "file", "old", "new", "said"),
    [
        ("0.2.0", "CHANGELOG.md", "", "", "`0.2.0` is no tag of a release: write it as `v0.1.0`"),
        ("v0.2.0", "pyproject.toml", "0.2.0", "0.1.0", "pyproject.toml says 0.1.0: write 0.2.0"),
        ("v0.2.0", "CITATION.cff", "0.2.0", "0.1.0", "CITATION.cff says 0.1.0: write 0.2.0"),
        ("v0.2.0", "CHANGELOG.md", "[0.2.0]", "[0.3.0]",
         "CHANGELOG.md has nothing under `## [0.2.0] - DATE`"),
        ("v0.2.0", "CHANGELOG.md", "[0.2.0] - 2026-03-01", "[0.2.0]",
         "CHANGELOG.md has no date for 0.2.0: write `## [0.2.0] - 2026-01-31`"),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_said(
    project: Path, tag: str, file: str, old: str, new: str, said: str
) -> None:
    path = project / file
    path.write_text(path.read_text().replace(old, new))
    assert release.problems(tag, project) == [said]


def test_what_names_a_version_names_the_same() -> None:
    declared = versions.PROJECT["version"]
    assert f"\nversion: {declared}\n" in (ROOT / "CITATION.cff").read_text()
    assert "Unreleased" in release.notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
