"""Whatever a file holds, the answer is a policy or a PolicyError with places and messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mitmthrottle.policy import (
    Policy,
    PolicyError,
    Problem,
    load_policy,
    parse_policy,
    shipped_policies,
)

SAMPLES = [path.read_text() for path in shipped_policies()] + [
    path.read_text()
    for path in sorted((Path(__file__).parent / "broken").glob("*.yaml"))
    if path.stem != "bomb"
]
PIECES = st.sampled_from(
    ["\n", "  ", "- ", ": ", "{", "}", "[", "]", "&a ", "*a", "<<: ", "!!str ", "!x ", "|", ">",
     "'", '"', "#", "\t", "---\n", "...\n", "? ", "%YAML 1.1\n", "~(", "0", "-1", "1e400", "null",
     "\x85", "\u2028", "\ufeff", "𝕏", "rules", "host", "then", "\\", "@", "`", ",", "%"]
)  # fmt: skip


def faults_of(read: Callable[[], Policy]) -> tuple[Problem, ...]:
    """What is told about it; nothing for a policy that is fine."""
    try:
        assert read().rules
    except PolicyError as error:
        told = error.problems
        return told or (Problem("", -1, -1, ""),)
    return ()


def check(text: str) -> None:
    line_ends = sum(text.count(char) for char in "\n\r\x85\u2028")
    for fault in faults_of(lambda: parse_policy(text, "f")):
        assert fault.message
        assert fault.column >= 0
        assert 0 <= fault.line <= line_ends + 2


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    check(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_any_yaml(text: str) -> None:
    check(text)
    check("version: 1\nname: x\nrules:\n" + text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_slip_of_the_pen(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SAMPLES))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 6)))
        text = text[:start] + data.draw(PIECES | st.just("")) + text[end:]
    check(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: object, raw: bytes) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / "any.yaml"
    path.write_bytes(raw)
    assert all(fault.message for fault in faults_of(lambda: load_policy(path)))
