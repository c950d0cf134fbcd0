"""What a YAML parser's complaint means to the person who wrote the file.

The one rule: each complaint that policies run into gets a remedy; the rest keeps its own words.
"""

from __future__ import annotations

import re

from ruamel.yaml.error import MarkedYAMLError

# (what the parser says, what to say instead), first match wins; {line} is the text of the line.
_REMEDIES: tuple[tuple[str, str], ...] = (
    (r"found character '\\t'", "a tab cannot indent YAML: use spaces"),
    (
        r"expected chomping or indentation indicators|found character '>'",
        'a value cannot begin with `>` unquoted: put it in quotes, as in `size: ">= 100 KiB"`',
    ),
    (
        r"while scanning an? alias|expected alphabetic or numeric character",
        "a value cannot begin with `*` or `&` unquoted: put it in quotes, "
        'as in `host: "*.example.com"`',
    ),
    (
        r"found character '(.+?)' that cannot start",
        r"a value cannot begin with `\1`: put it in quotes",
    ),
    (
        r"mapping values are not allowed",
        "a `:` does not fit here: check the indentation, or put a value that contains `: ` in "
        "quotes",
    ),
    (
        r"expected ',' or '[\]}]'",
        "a `[` or `{` is not closed, or a comma is missing: compare the brackets",
    ),
    (
        r"unexpected end of stream|while scanning a quoted scalar|document separator",
        "a quote is not closed: add the closing quote",
    ),
    (
        r"could not find expected ':'|simple key",
        "this line has no `key: value`: add the colon, and a space after it",
    ),
    (
        r"expected <block end>|did not find expected|but found '<block",
        "this line is not indented as its neighbours are: align it with the lines it belongs to",
    ),
    (r"undefined tag handle|tag", "a value cannot begin with `!` unquoted: put it in quotes"),
    (r"node content|expected the node", "a value is missing or misplaced here: check the line"),
    (r"unknown escape|escape sequence",
     "a backslash in double quotes begins an escape: use single quotes"),
)  # fmt: skip


def explain_syntax(error: MarkedYAMLError, text: str) -> tuple[int, int, str]:
    """(line, column, message) of a syntax error; places count from 1."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    said = " ".join(f"{error.context or ''} {error.problem or ''}".split())
    lines = text.splitlines()
    if line <= len(lines) and re.match(r" *\t", lines[line - 1]):
        return line, column, _REMEDIES[0][1]
    if "quoted scalar" in (error.context or "") and "end of stream" in said:
        mark = error.context_mark  # where the quote opens, not where the file ends
        line, column = mark.line + 1, mark.column + 1
    for pattern, remedy in _REMEDIES:
        found = re.search(pattern, error.problem or "") or re.search(pattern, said)
        if found:
            return line, column, found.expand(remedy) if "\\1" in remedy else remedy
    return line, column, f"this is not YAML: {said}"
