"""Random small faults put into a copy of the code: do the tests see them?  `make mutants`.

Rule: never in the tree itself.  Each fault is written into a temporary copy, and only the tests
named are run there, until the first that fails.
"""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLIPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
Change = Callable[[], None]


def changes(tree: ast.AST) -> Iterator[Change]:
    """Everything that could be wrong with this tree, one small fault each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__repr__":
            node.body = []  # what people read only
    for node in ast.walk(tree):
        match node:
            case ast.Compare(ops=[op]) if type(op) in FLIPPED:
                yield lambda node=node, op=op: setattr(node, "ops", [FLIPPED[type(op)]()])
            case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op) if type(
                op
            ) in FLIPPED and not _is_type(node):
                yield lambda node=node, op=op: setattr(node, "op", FLIPPED[type(op)]())
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                yield lambda node=node, test=test: setattr(
                    node, "test", ast.UnaryOp(ast.Not(), test)
                )
            case ast.Constant(value=value) if isinstance(value, bool):
                yield lambda node=node, value=value: setattr(node, "value", not value)
            case ast.Constant(value=value) if isinstance(value, int | float):
                yield lambda node=node, value=value: setattr(node, "value", value * 2 or 1)
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                yield lambda node=node: setattr(node, "value", ast.Constant(None))
        for name in ("body", "orelse"):
            for at, statement in enumerate(
                lines if isinstance(lines := getattr(node, name, None), list) else []
            ):
                if _does_something(statement):
                    yield lambda lines=lines, at=at: lines.__setitem__(at, ast.Pass())


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_type(node: ast.AST) -> bool:
    """`int | None` and the like."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)


def _does_something(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    return isinstance(node, ast.Assign | ast.AugAssign | ast.Delete | ast.Continue | ast.Break)


def mutants(path: Path) -> Iterator[str]:
    """The text of the file with each of these faults.  (Comments and layout are gone.)"""
    whole = ast.parse(path.read_text())
    for number in range(sum(1 for _ in changes(copy.deepcopy(whole)))):
        tree = copy.deepcopy(whole)
        list(changes(tree))[number]()
        yield ast.unparse(ast.fix_missing_locations(tree))


def difference(path: Path, text: str) -> str:
    # The same steps as a mutant's, without a fault: layout and what is left out do not count.
    tree = ast.parse(path.read_text())
    list(changes(tree))
    before = ast.unparse(tree).splitlines()
    lines = difflib.unified_diff(before, text.splitlines(), n=0, lineterm="")
    return "\n".join(
        f"    {line}" for line in list(lines)[2:] if not line.startswith("@@") or "," not in line
    )


def tracked() -> list[str]:
    """The files of the tree, without what was made in it: tests read policies and docs, too."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def tests_of(path: Path) -> list[str]:
    """The folder that mirrors the module's package; for what carries bodies the simulator, too."""
    package = path.relative_to(ROOT / "addons/mitmthrottle").parts[0]
    return [f"tests/{package}", *(["tests/simulation"] if package == "proxy" else [])]


def is_killed(home: Path, tests: list[str], timeout_s: float) -> bool:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-m",
        "not e2e",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "PYTHONPATH": str(home / "addons"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=home,
            env=environment,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True  # it goes round for ever
    return done.returncode != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders (default: pacing/)")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=90.0, help="seconds for the tests")
    parser.add_argument("--tests", action="append", help="default: the package's own")
    options = parser.parse_args()
    found: list[tuple[Path, str]] = []
    for name in options.paths or ["addons/mitmthrottle/pacing"]:
        path = (ROOT / name).resolve()
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        found += [(file, text) for file in files for text in mutants(file)]
    chosen = random.Random(options.seed).sample(found, min(options.count, len(found)))
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        home = Path(folder)
        for name in tracked():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, home / name)
        if is_killed(
            home, sorted({t for p, _ in chosen for t in options.tests or tests_of(p)}), 600
        ):
            print("The tests fail without a fault, too: mend them first.")
            return 2
        for number, (path, text) in enumerate(chosen, 1):
            inside = home / path.relative_to(ROOT)
            sound = inside.read_text()  # the tree itself may have changed since
            inside.write_text(text)
            killed = is_killed(home, options.tests or tests_of(path), options.timeout)
            inside.write_text(sound)
            # What hypothesis has found would be tried on the next one first.
            shutil.rmtree(home / ".hypothesis", ignore_errors=True)
            survived += not killed
            says = "killed  " if killed else "SURVIVED"
            print(f"{number:3} {says} {path.relative_to(ROOT)}", flush=True)
            print(difference(path, text), flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} killed (of {len(found)} that there are)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
