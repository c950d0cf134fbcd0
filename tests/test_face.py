"""The public interface: what `mitmthrottle` exports, and that the documents use nothing else."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import mitmthrottle
from tools import api_page

ROOT = Path(__file__).parents[1]
FACE = Path(mitmthrottle.__file__)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
OF_OUR_OWN = {"ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "adding-an-effect.md"}
"""Documents for those who change mitmthrottle itself, and so name what is private."""
BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", script], capture_output=True, text=True, check=False
    )


def test_what_is_public() -> None:
    """A new name is a promise: it is added here as well, on purpose."""
    assert mitmthrottle.__all__ == [
        *("CompareFailed", "Comparison", "Explanation", "Observer", "Origin", "Policy"),
        "PolicyError",
        *(
            "PolicySource",
            "Problem",
            "ProxyDied",
            "ProxyFailed",
            "ProxyNotStarted",
            "Record",
            "RunningProxy",
        ),
        *("Throttle", "compare_page", "comparison_report", "explain", "load_policy"),
        *("running_origin", "running_proxy"),
    ]


@pytest.mark.parametrize("name", mitmthrottle.__all__)
def test_each_name_can_be_imported(name: str) -> None:
    assert getattr(mitmthrottle, name) is not None
    assert name in dir(mitmthrottle)


def test_a_module_of_ours_never_stands_in_for_a_name() -> None:
    """A submodule that is imported becomes an attribute of its package."""
    for name in mitmthrottle.__all__:
        assert importlib.util.find_spec(f"mitmthrottle.{name}") is None


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mitmthrottle' has no attribute 'trottle'"):
        mitmthrottle.trottle  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'trottle'"):
        exec("from mitmthrottle import trottle")


def test_type_checkers_see_the_same_names_at_the_same_places() -> None:
    tree = ast.parse(FACE.read_text())
    (checked,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: f"mitmthrottle.{home}" for name, home in mitmthrottle._HOMES.items()}
    assert sorted(seen) == sorted(mitmthrottle.__all__)


def test_its_types_are_for_everybody() -> None:
    assert FACE.with_name("py.typed").is_file()


def untyped(name: str, function: Any) -> list[str]:
    signature = inspect.signature(function)
    bare = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
    ]
    if signature.return_annotation is signature.empty:
        bare.append("return")
    return [f"{name}: {each}" for each in bare]


@pytest.mark.parametrize("name", mitmthrottle.__all__)
def test_each_name_is_typed(name: str) -> None:
    thing = getattr(mitmthrottle, name)
    if inspect.isfunction(thing):
        assert untyped(name, thing) == []
    elif inspect.isclass(thing):
        for member, value in vars(thing).items():
            if inspect.isfunction(value) and not member.startswith("_"):
                assert untyped(f"{name}.{member}", value) == []


def test_importing_the_package_imports_nothing_else() -> None:
    done = run(
        "import sys; before = {*sys.modules, *sys.stdlib_module_names}; import mitmthrottle; "
        "print(*sorted({name for name in sys.modules if name.partition('.')[0] not in before}))"
    )
    assert done.stdout.split() == ["mitmthrottle"], done.stdout + done.stderr


@pytest.mark.parametrize("name", ["load_policy", "explain", "running_proxy", "Throttle"])
def test_what_needs_no_mitmproxy_does_not_import_it(name: str) -> None:
    done = run(
        f"import sys; from mitmthrottle import {name}; "
        "print(*({'mitmproxy', 'playwright', 'httpx', 'numpy'} & set(sys.modules)))"
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_what_needs_an_extra_says_which() -> None:
    done = run(
        "import sys; sys.modules['playwright'] = sys.modules['playwright.async_api'] = None\n"
        "from mitmthrottle import compare_page"
    )
    assert done.returncode == 1
    assert re.search(
        r"ModuleNotFoundError: mitmthrottle\.compare_page needs playwright\S*: .*compare\]",
        done.stderr,
    )


def test_the_page_about_it_is_what_the_docstrings_say() -> None:
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), (
        "docs/api.md is stale: run `python tools/api_page.py`"
    )


def test_a_name_without_a_docstring_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mitmthrottle.explain, "__doc__", None)
    with pytest.raises(ValueError, match=r"mitmthrottle\.explain has no docstring"):
        api_page.page()


def test_a_name_that_the_page_leaves_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mitmthrottle, "__all__", [*mitmthrottle.__all__, "Decider"])
    with pytest.raises(ValueError, match=r"differ: \['Decider'\]"):
        api_page.page()


def python_blocks(document: Path) -> list[str]:
    """Code that a reader would run: marked as Python, or with an import of ours in it."""
    return [
        textwrap.dedent(text)
        for kind, text in BLOCK.findall(document.read_text(encoding="utf-8"))
        if kind in ("python", "py", "pycon")
        or re.search(r"^\s*(from|import) mitmthrottle", text, re.M)
    ]


def private_imports(code: str) -> list[str]:
    """What a block takes of ours that is not public."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("mitmthrottle.")]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.startswith("mitmthrottle."):
                found.append(node.module)
            elif node.module == "mitmthrottle":
                found += [a.name for a in node.names if a.name not in mitmthrottle.__all__]
    return found


def test_a_private_import_would_be_found() -> None:
    code = "from mitmthrottle import explain, nothing\nimport mitmthrottle.cli\n"
    assert private_imports(code) == ["nothing", "mitmthrottle.cli"]
    assert private_imports("from mitmthrottle.policy import Policy") == ["mitmthrottle.policy"]


@pytest.mark.parametrize(
    "document",
    [each for each in DOCUMENTS if each.name not in OF_OUR_OWN],
    ids=lambda each: str(each.relative_to(ROOT)),
)
def test_documents_import_what_is_public_only(document: Path) -> None:
    for code in python_blocks(document):
        assert private_imports(code) == [], code


def test_there_is_code_in_the_documents() -> None:
    with_code = {each.name for each in DOCUMENTS if python_blocks(each)}
    assert {"README.md", "api.md", "compare.md", "record.md"} <= with_code


def test_type_checkers_know_each_name_and_no_other(tmp_path: Path) -> None:
    """As a user's own mypy sees it."""
    user = tmp_path / "user.py"
    user.write_text(
        "from mitmthrottle import running_proxy, load_policy, explain\n"
        "with running_proxy({'rules': []}, resolve={'a': ('127.0.0.1', 1)}) as throttle:\n"
        "    reveal_type(throttle)\n"
        "with running_proxy(None) as bare:\n"
        "    reveal_type(bare)\n"
        "reveal_type(load_policy('x'))\n"
        "reveal_type(explain('x', 'y')['rule'])\n"
        "from mitmthrottle import Decider\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"),
         "--config-file", str(ROOT / "pyproject.toml"), str(user)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    said = [line.partition("user.py:")[2] for line in done.stdout.splitlines() if "user.py" in line]
    assert said == [
        '3: note: Revealed type is "mitmthrottle.lab.proxy.Throttle"',
        '5: note: Revealed type is "mitmthrottle.lab.proxy.RunningProxy"',
        '6: note: Revealed type is "mitmthrottle.policy.schema.Policy"',
        '7: note: Revealed type is "str | None"',
        '8: error: Module "mitmthrottle" has no attribute "Decider"  [attr-defined]',
    ], done.stdout
