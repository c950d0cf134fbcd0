"""Make docs/api.md, the page about the public interface, from the docstrings of what is in it.

    python tools/api_page.py          writes the page
    python tools/api_page.py --check  only says whether the page is stale (status 1)

Rule: the page says nothing that the docstrings do not; a public name without one is an error.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAliasType, get_overloads

import mitmthrottle

PAGE = Path(__file__).parents[1] / "docs" / "api.md"

SECTIONS = {
    "Policies": ("load_policy", "PolicySource", "Policy", "PolicyError", "Problem"),
    "What a policy does": ("explain", "Explanation"),
    "A proxy for the length of a block": (
        *("running_proxy", "Throttle", "RunningProxy"),
        *("ProxyFailed", "ProxyNotStarted", "ProxyDied"),
    ),
    "An origin to fetch from": ("running_origin", "Origin"),
    "A page with and without a policy": (
        *("compare_page", "Comparison", "comparison_report", "CompareFailed"),
    ),
    "Addons of mitmproxy that look on": ("Observer", "Record"),
}
"""Every public name, in the order in which a reader needs them."""

_FOR_OURSELVES = {"filled", "host_patterns", "record"}
"""Members that other modules of ours need, and nobody else."""

_INTRODUCTION = """\
# From Python

<!-- Made by `python tools/api_page.py` from the docstrings. Change those, and run it. -->

```python
from mitmthrottle import explain, load_policy, running_proxy
```

What is on this page is the public interface: `mitmthrottle.__all__`, with types (`py.typed`). All
other modules are private. `import mitmthrottle` imports nothing else; each name is imported when it
is first used. Rates are in bytes per second, sizes in bytes and times in seconds, as their names
say.
"""


def main(arguments: list[str]) -> int:
    text = page()
    if "--check" in arguments:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
        if stale:
            print(f"{PAGE} is not what the docstrings say: run `python tools/api_page.py`")
        return int(stale)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def page() -> str:
    """The whole page. ValueError for a public name that is in no section or has no docstring."""
    named = [name for names in SECTIONS.values() for name in names]
    if sorted(named) != sorted(mitmthrottle.__all__):
        odd = sorted(set(named) ^ set(mitmthrottle.__all__)) or "one is there twice"
        raise ValueError(f"SECTIONS and mitmthrottle.__all__ differ: {odd}")
    parts = [_INTRODUCTION]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [_entry(name, getattr(mitmthrottle, name)) for name in names]
    return "\n".join(parts)


def _entry(name: str, thing: Any) -> str:
    if isinstance(thing, TypeAliasType):
        value, text = _alias_source(thing)
        kind, lines = "type", [f"    {name} = {value}", "", *text.splitlines()]
    elif inspect.isclass(thing):
        kind, lines = "class", _class(thing)
    else:
        kind, lines = "function", [*_signature(name, thing), "", *_text(name, thing)]
    return "\n".join([f"### {name}\n", f"*{kind}*\n", *lines]).rstrip() + "\n"


def _class(cls: type) -> list[str]:
    lines = [*_text(cls.__name__, cls), ""]
    for shown, text in dict(_members(cls)).items():
        first, *rest = text.splitlines()
        lines.append(f"- `{shown}`: {first}")
        lines += [f"  {line}".rstrip() for line in rest]
    return lines


def _members(cls: type) -> Iterator[tuple[str, str]]:
    """Fields that say what they are, properties and methods, inherited ones first."""
    for base in reversed(cls.__mro__[:-1]):
        if not base.__module__.startswith("mitmthrottle"):
            continue
        yield from _fields(base)
        for name, value in vars(base).items():
            member = value.__func__ if isinstance(value, classmethod) else value
            if name.startswith("_") or name in _FOR_OURSELVES:
                continue
            if isinstance(member, property):
                returned = inspect.signature(_getter(member)).return_annotation
                yield f"{name}: {returned}", _joined(f"{cls.__name__}.{name}", member)
            elif inspect.isfunction(member) and member.__module__.startswith("mitmthrottle"):
                signature = inspect.signature(member)
                given = [_parameter(each) for each in list(signature.parameters.values())[1:]]
                shown = f"{name}({', '.join(given)}) -> {signature.return_annotation}"
                yield shown, _joined(f"{cls.__name__}.{name}", member)


def _getter(member: property) -> Callable[..., Any]:
    if member.fget is None:
        raise ValueError("a property that cannot be read")
    return member.fget


def _fields(cls: type) -> Iterator[tuple[str, str]]:
    """Annotated names of a class, each with the text under it."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and (text := _literal(following)):
            name = f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
            yield name, inspect.cleandoc(text)


def _literal(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def _alias_source(alias: TypeAliasType) -> tuple[str, str]:
    """What it stands for, and the text under it."""
    body = ast.parse(inspect.getsource(sys.modules[str(alias.__module__)])).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.TypeAlias) or node.name.id != alias.__name__:
            continue
        if text := _literal(following):
            return ast.unparse(node.value), inspect.cleandoc(text)
    raise ValueError(f"mitmthrottle.{alias.__name__} has no text under it")


def _signature(name: str, function: Any) -> list[str]:
    """The call as it is written; of a function with several signatures, the last."""
    signature = inspect.signature((get_overloads(inspect.unwrap(function)) or [function])[-1])
    lines = [f"    {name}("]
    keywords = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            lines.append("        *,")
            keywords = True
        lines.append(f"        {_parameter(parameter)},")
    returned = str(signature.return_annotation)
    if returned.startswith("Iterator["):  # a context manager, as it is written
        returned = f"AbstractContextManager{returned.removeprefix('Iterator')}"
    return [*lines, f"    ) -> {returned}"]


def _parameter(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {parameter.annotation}{default}"


def _joined(name: str, thing: Any) -> str:
    return "\n".join(_text(name, thing))


def _text(name: str, thing: Any) -> list[str]:
    text = inspect.getdoc(thing) or ""
    if not text or text.startswith(("dict(", f"{name}(")):  # made by a dataclass, or inherited
        raise ValueError(f"mitmthrottle.{name} has no docstring")
    return text.splitlines()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
