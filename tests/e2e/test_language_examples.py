"""Each example of docs/policy.md does what the page says of it, in a run through a real proxy.

The fragments become rules of a few policies, each told apart by a header or a host of its own;
whole policies are tried as they are. What is broken on purpose has its test in tests/policy.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mitmthrottle.policy import load_policy_with_warnings

from . import language_then, language_when
from .figures import Figures
from .language_asks import PHONE, Ask
from .language_checks import (
    free,
    rate,
    shared_rate,
)
from .language_library import Library, running_library
from .language_when import Example

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

AT_ONCE = 2
PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
_BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```(yaml|csv)\n(.*?)```", re.DOTALL)
_COMMENT = re.compile(r"\s{2,}#[^\n]*$", re.MULTILINE)
BLOCKS = [(found[0] or "", found[1], found[2]) for found in _BLOCK.findall(PAGE)]
HOSTS = (
    "example.com", "*.example.com", "*.b.example.com", "example.org", "*.example.org",
    "*.cdn7.example.org", "*.example.net", "badexample.com", "t.co", "www.t.co", "microsoft.com",
    "reddit.com", "web",
)  # fmt: skip
SINKS = ("sink.example.org",)


def fragments(kind: str) -> list[str]:
    """The page's examples of that kind, without comments."""
    return [
        _COMMENT.sub("", part.strip())
        for marker, _, text in BLOCKS
        if marker == kind
        for part in text.split("\n\n")
    ]


def wholes() -> dict[str, str]:
    """The policies that stand there as a whole and are right, by name."""
    texts = [
        text
        for marker, kind, text in BLOCKS
        if kind == "yaml" and (not marker or marker.startswith("warned"))
    ]
    return {text.split("\nname: ")[1].split("\n")[0]: text for text in texts}


NOW = datetime.datetime.now(datetime.UTC)
THEN = language_then.examples()
SHARE = "share: 50%"
WHOLE: dict[str, tuple[Ask, ...]] = {
    "photos-crawl": (
        Ask("a phone's photo", "www.example.com", "/1mb.jpg", rate(128), agent=PHONE),
        Ask("a phone's video", "img.example.net", "/20mb.mp4", rate(128), agent=PHONE, h2=True),
        Ask("a phone's text", "example.com", "/1mb.html", free(), agent=PHONE),
        Ask("elsewhere", "example.org", "/1mb.jpg", free(), agent=PHONE),
    ),
    "a-link-for-each-client": (
        Ask("two of a client", "example.org", "/20mb.bin", shared_rate(2000, 1000), h2=True,
            streams=2),
        Ask("another client", "example.com", "/20mb.html", rate(2000)),
    ),
    "an-accident": (
        Ask("microsoft.com", "microsoft.com", "/1mb.html", rate(128)),
        Ask("reddit.com", "reddit.com", "/1mb.html", rate(128)),
        Ask("example.org", "example.org", "/1mb.html", free()),
    ),
}  # fmt: skip


def when_policy(examples: Sequence[Example]) -> tuple[str, list[Ask]]:
    """A rule for each example, and the asks that single it out."""
    rules, asks = [], []
    for number, example in enumerate(examples):
        by_host = example.text.startswith("header")
        case = f"w{number}"
        apart = f"host: {case}.example.org" if by_host else f"header: {{x-case: {case}}}"
        rules.append(
            f"  - name: {case}\n    when:\n      {rewritten(example)}\n      {apart}\n"
            f"    then: {example.effect}\n"
        )
        for ask in example.asks:
            told = replace(ask, what=f"{example.text}, {ask.what}")
            if by_host:
                asks.append(replace(told, host=f"{case}.example.org"))
            else:
                asks.append(replace(told, headers=(*ask.headers, ("X-Case", case))))
    return "version: 1\nname: when\nrules:\n" + "".join(rules), asks


def then_policy(examples: Sequence[Example]) -> tuple[str, list[Ask], list[str]]:
    """A rule for each, for hosts of its own; and the hosts that take uploads."""
    rules, asks, ups = [], [], []
    for number, example in enumerate(examples):
        host, up = f"t{number}.example.org", f"t{number}-up.example.org"
        effects = rewritten(example).replace("\n", "\n      ")
        rules.append(
            f"  - name: t{number}\n    when: {{host: [{host}, {up}]}}\n    then:\n      {effects}\n"
        )
        for ask in example.asks:
            what = f"{example.text.splitlines()[0]}, {ask.what}"
            asks.append(replace(ask, what=what, host=up if ask.host == "up" else host))
            ups += [up] if ask.host == "up" else []
    return "version: 1\nname: then\nrules:\n" + "".join(rules), asks, ups


def rewritten(example: Example) -> str:
    text = example.text
    for old, new in example.rewritten:
        if old not in text:
            raise AssertionError(f"`{text}` has no `{old}`")
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("examples")
    for marker, kind, text in BLOCKS:
        if kind == "csv":
            (folder / marker.removeprefix("file: ")).write_text(text)
    with running_library(folder, HOSTS, AT_ONCE) as library:

        def start(name: str, text: str, asks: Sequence[Ask], ups: Sequence[str],
                  *options: str, **more: object) -> None:  # fmt: skip
            path = folder / f"{name}.yaml"
            path.write_text(text)
            library.start(name, path, asks, ups, options=options, **more)  # type: ignore[arg-type]

        text, asks, ups = then_policy(THEN)
        start("then", text, asks, ups)
        when = language_when.examples(library.nginx.plain_port, NOW)
        text, asks = when_policy([each for each in when if not each.users])
        start("when", text, asks, SINKS)
        text, asks = when_policy([each for each in when if each.users])
        start("users", text, asks, (), "--set", "proxyauth=any")
        for name, policy in wholes().items():
            share = [("www.example.com", "/1mb.jpg", 0.35, 0.65)] if name == "photos-crawl" else []
            start(name, policy, WHOLE[name], (), shares=share)
        text = (
            f"version: 1\nname: share\nrules:\n  - when: {{{SHARE}}}\n    then: {{rate: 1 B/s}}\n"
        )
        start("share", text, (), (), shares=[("example.org", "/1mb.jpg", 0.35, 0.65)])
        yield library


def test_each_example_is_tried() -> None:
    when = {example.text for example in language_when.examples(80, NOW)}
    assert when | {SHARE} == set(fragments("when"))
    assert {example.text for example in THEN} == set(fragments("then"))
    assert {*WHOLE} == {*wholes()}


@pytest.mark.parametrize("name", ["then", "when", "users", "share", *WHOLE])
def test_examples_do_as_the_page_says(name: str, library: Library, figures: Figures) -> None:
    load_policy_with_warnings(library.folder / f"{name}.yaml")
    told = library.outcome(name)
    for what, said in told.figures:
        figures.add(f"{name}: {what}:", said)
    assert told.figures
    assert not told.faults
