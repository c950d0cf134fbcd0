"""Broken policy files: each fault at its line and column, with its remedy, all in one run.

`broken/expected.txt` is the table: every line that a check of the files in `broken/` prints.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections import defaultdict
from pathlib import Path

import pytest

from mitmthrottle.policy import PolicyError, load_policy, parse_policy

BROKEN = Path(__file__).parent / "broken"
FILES = sorted(BROKEN.glob("*.yaml"))
GOOD = "version: 1\nname: good\nrules:\n  - then: {rate: 128 kbit/s}\n"


def expected() -> dict[str, list[str]]:
    table: dict[str, list[str]] = defaultdict(list)
    policy = ""
    for line in (BROKEN / "expected.txt").read_text().splitlines():
        name = line.split(":", 1)[0]
        policy = name if name.endswith(".yaml") else policy  # a trace's faults follow its policy's
        table[policy].append(line)
    return table


def faults_of(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "f.yaml")
    return str(caught.value).splitlines()


def test_the_table_names_every_file() -> None:
    assert set(expected()) == {path.name for path in FILES}
    assert len(FILES) >= 25


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_fault_is_told_with_its_place(path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    lines = str(caught.value).replace(f"{BROKEN}/", "").splitlines()
    assert lines == expected()[path.name]
    own = [(each.line, each.column) for each in caught.value.problems if each.file == str(path)]
    assert own == sorted(own)


def test_the_file_of_a_fault_is_the_path_that_was_given() -> None:
    path = BROKEN / "tab.yaml"
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert str(caught.value) == f"{path}:4:1: a tab cannot indent YAML: use spaces"


class TestFilesThatCannotBeRead:
    def message(self, path: Path) -> str:
        with pytest.raises(PolicyError) as caught:
            load_policy(path)
        assert len(caught.value.problems) == 1
        return str(caught.value).replace(str(path), "F")

    def test_missing(self, tmp_path: Path) -> None:
        assert self.message(tmp_path / "x.yaml") == "F:0:0: no such file: check the path"

    def test_directory(self, tmp_path: Path) -> None:
        assert self.message(tmp_path).startswith("F:0:0: this is a directory: name a policy file")

    def test_nul_in_the_path(self) -> None:
        assert ":0:0: cannot be read:" in self.message(Path("a\0b.yaml"))

    def test_too_large_is_told_without_reading_it_all(self, tmp_path: Path) -> None:
        path = tmp_path / "large.yaml"
        with path.open("wb") as file:
            file.truncate(100 * 2**20)
        assert self.message(path).startswith("F:0:0: larger than 8 MiB")

    @pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
    def test_what_is_no_regular_file_is_refused_at_once(self, tmp_path: Path, kind: str) -> None:
        path = Path("/dev/zero") if kind == "device" else tmp_path / "policy.yaml"
        if kind == "pipe":
            os.mkfifo(path)
        with socket.socket(socket.AF_UNIX) as listener:
            if kind == "socket":
                listener.bind(str(path))
            assert self.message(path) == (
                f"F:0:0: this is a {kind}, not a regular file: name a policy file, as `NAME.yaml`"
            )

    @pytest.mark.parametrize("target", ["pipe", "/dev/zero", "."])
    def test_nor_is_a_trace_read_from_one(self, tmp_path: Path, target: str) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "t.csv").symlink_to(target)
        path = tmp_path / "policy.yaml"
        path.write_text("version: 1\nname: x\nrules:\n  - then: {trace: t.csv}\n")
        assert self.message(path) == "F:4:19: `t.csv`: this is no file: name a CSV file"

    def test_a_symlink_to_a_file_is_that_file(self, tmp_path: Path) -> None:
        (tmp_path / "real.yaml").write_text(GOOD)
        (tmp_path / "link.yaml").symlink_to("real.yaml")
        assert load_policy(tmp_path / "link.yaml").name == "good"

    def test_not_utf_8(self, tmp_path: Path) -> None:
        path = tmp_path / "latin.yaml"
        path.write_bytes(b"version: 1\nname: caf\xe9\n")
        assert self.message(path) == "F:2:10: byte 20 (0xe9) is not UTF-8: save it as UTF-8"

    def test_utf_16(self, tmp_path: Path) -> None:
        path = tmp_path / "wide.yaml"
        path.write_bytes(GOOD.encode("utf-16"))
        assert self.message(path) == "F:0:0: this is UTF-16: save it as UTF-8"

    def test_nul_byte(self, tmp_path: Path) -> None:
        path = tmp_path / "nul.yaml"
        path.write_bytes(b"version: 1\nname: a\0b\n")
        assert self.message(path) == (
            "F:2:8: the character U+0000 is not allowed in YAML: delete it"
        )


class TestYamlThatIsFine:
    def test_byte_order_mark_and_windows_line_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "windows.yaml"
        path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
        assert load_policy(path).name == "good"

    def test_merge_keys_and_anchors(self) -> None:
        policy = parse_policy(
            "version: 1\nname: merged\nrules:\n"
            "  - name: a\n    when: &base {host: .a.com, method: GET}\n"
            "    then: &t {rate: 1 Mbit/s}\n"
            "  - name: b\n    when: {<<: *base, host: .b.com}\n    then: *t\n"
        )
        assert policy.rules[1].when.method == ("GET",)
        assert [str(getattr(h, "name", h)) for h in policy.rules[1].when.host or ()] == ["b.com"]
        assert policy.rules[1].then == policy.rules[0].then

    def test_a_fault_behind_an_alias_is_told_where_it_stands(self) -> None:
        assert faults_of(
            "version: 1\nname: x\nrules:\n"
            "  - when: {host: .a.com}\n    then: &t {rate: 1}\n"
            "  - when: {host: .b.com}\n    then: *t\n"
        ) == ["f.yaml:5:21: `1`: a rate needs a unit: did you mean `1 kbit/s` or `1 kB/s`?"]

    @pytest.mark.parametrize(
        "text",
        [
            "version:\t1\nname: good\nrules:\n  - then: {rate: 128 kbit/s}\n",
            "version: 1\t\nname:\t good\t# a comment\nrules:\t\n  -\tthen:\t{rate:\t8 kB/s\t}\n",
            "version: 1\nname: good\nrules:\n  - then: {\n\t\trate: 8 kB/s\n\t}\n",
            'version: 1\n"name"\t:\t"good"\t\nrules:\t[\t{then:\t{rate: 8 kB/s}}\t]\n',
            "version: 1\nname: good\n\t\n\t# a comment\nrules:\n  - then: {rate: 8 kB/s}\n",
        ],
    )
    def test_tabs_between_two_things_on_a_line(self, text: str) -> None:
        assert parse_policy(text).name == "good"

    def test_a_tab_inside_a_text_stays(self) -> None:
        policy = parse_policy(GOOD.replace("name: good", "name: a\tb\ndescription: 'c\td'"))
        assert (policy.name, policy.description) == ("a\tb", "c\td")

    def test_words_that_older_yaml_takes_for_truth(self) -> None:
        policy = parse_policy(GOOD.replace("name: good", "name: yes"))
        assert policy.name == "yes"

    def test_rules_know_their_lines(self) -> None:
        text = GOOD.replace("- then", "- when: {host: .a.com}\n    then")
        policy = parse_policy(text + "  - name: last\n    then: {delay: 1 s}\n")
        assert [(rule.name, rule.line) for rule in policy.rules] == [("rule 1", 4), ("last", 6)]


@pytest.mark.parametrize("line", ["\t- then: {rate: 8 kB/s}", "  - then:\n\t\trate: 8 kB/s"])
def test_a_tab_is_no_indentation(line: str) -> None:
    (said,) = faults_of(f"version: 1\nname: x\nrules:\n{line}\n")
    assert said.endswith("a tab cannot indent YAML: use spaces")


@pytest.mark.parametrize(
    ("head", "line", "tail"),
    [
        ("", "unknown{}: 1", ""),
        ("", "hots{}: 1", ""),
        ("clients:\n", "  c{}: {{device: tv}}", ""),
        ("hosts:\n", "  g{}: [a.com]", "  - when: {host: [g, h, gg0]}\n    then: {delay: 1 s}\n"),
        ("defaults:\n", "  x{}: 1", ""),
        ("hosts:\n", "  x{}:", ""),
        ("sources:\n", "  - [{}]", ""),
    ],
)
def test_of_many_problems_the_first_hundred_are_told_and_how_many_more(
    head: str, line: str, tail: str
) -> None:
    many = 3000
    lines = "\n".join(line.format(number) for number in range(many))
    text = f"version: 1\nname: x\n{head}{lines}\nrules:\n  - then: {{rate: 8 kB/s}}\n{tail}"
    before = time.process_time()
    said = faults_of(text)
    assert time.process_time() - before < 5
    assert len(said) == 101
    assert re.search(r": and 2[0-9]{3} more from here on: mend those above first$", said[-1])
    assert len("\n".join(said)) < 40_000


def test_a_hundred_problems_are_all_told() -> None:
    text = "version: 1\nname: x\n" + "".join(f"unknown{n}: 1\n" for n in range(100))
    said = faults_of(text + "rules:\n  - then: {rate: 8 kB/s}\n")
    assert len(said) == 100
    assert not any("more from here on" in each for each in said)


def test_three_duplicates_are_all_told() -> None:
    text = "version: 1\nname: a\nname: b\nname: c\nrules:\n  - then: {rate: 1 Mbit/s}\n"
    said = "the key `name` is already given at line 2, column 1: keep one of the two"
    assert faults_of(text) == [f"f.yaml:3:1: {said}", f"f.yaml:4:1: {said}"]


def test_an_unused_group_is_not_told_twice_when_its_use_is_misspelt() -> None:
    text = (
        "version: 1\nname: good\nhosts: {twitter: [t.co]}\nrules:\n"
        "  - when: {host: twiter}\n    then: {rate: 128 kbit/s}\n"
    )
    assert faults_of(text) == [
        "f.yaml:5:18: no group of `hosts` is named `twiter`: did you mean `twitter`?"
    ]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_one_fault(opening: str) -> None:
    assert len(faults_of("version: 1\nx: " + opening * 20000)) == 1
    assert len(faults_of(opening * 20000)) == 1
