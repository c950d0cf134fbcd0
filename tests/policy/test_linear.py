"""What a client sends costs no more than in proportion to its length.

Rule: each is measured at two lengths, one twice the other, well above what a clock can tell, and
the least of several times is taken: whatever else the machine does only ever adds. For the same
reason a measurement that comes out too high is made again; what is not linear is so each time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mitmthrottle.policy import classify, normalise_host
from mitmthrottle.policy.detect.content import _mime_type, mime_type, needs_more
from mitmthrottle.policy.detect.devices import _device_of, device_of
from mitmthrottle.policy.language.hosts import CACHED_HOSTS, LONGEST_WRITTEN, HostIndex, HostPattern
from mitmthrottle.policy.language.hosts import _normalise as _kept_hosts
from mitmthrottle.policy.language.pattern import LONGEST_TEXT, TextPattern, compile_glob
from mitmthrottle.policy.language.regex import (
    LONGEST_BACKTRACKED,
    _Automaton,
    _parser,
    compile_search,
)

MOST_GROWTH = 2.2
ROUNDS = 5
ATTEMPTS = 5
SHORTEST_S = 0.004


def seconds(do: Callable[[Any], object], made: Any, times: int) -> float:
    before = time.process_time()
    for _ in range(times):
        do(made)
    return time.process_time() - before


def growth(do: Callable[[Any], object], make: Callable[[int], Any], size: int) -> float:
    """How many times as long twice the size takes."""
    small, large = make(size), make(2 * size)
    times = 1
    while seconds(do, small, times) < SHORTEST_S:
        times *= 2
    least = float("inf")
    for _ in range(ATTEMPTS):
        pairs = [(seconds(do, small, times), seconds(do, large, times)) for _ in range(ROUNDS)]
        ratio = min(large for _, large in pairs) / min(small for small, _ in pairs)
        least = min(least, ratio)
        if least <= MOST_GROWTH:
            break
    return least


def repeated(piece: str, end: str = "") -> Callable[[int], str]:
    return lambda size: (piece * (size // len(piece) + 1))[:size] + end


@pytest.mark.parametrize(
    ("glob", "piece"),
    [
        ("/*/photos/*/*.jpg", "/photos/"),
        ("/*a*a*a*b", "a"),
        ("*?a*?b", "a"),
        ("*aaaaaaab*x", "a"),
        ("*.jpg", ".jp"),
        ("*a?c*abc*z", "abc"),
    ],
)
@pytest.mark.parametrize("ignore_case", [False, True])
def test_globs(glob: str, piece: str, ignore_case: bool) -> None:
    matches = compile_glob(glob, re.IGNORECASE if ignore_case else 0)
    assert growth(matches, repeated(piece), 50_000) <= MOST_GROWTH


@pytest.mark.parametrize(
    ("regex", "piece", "end"),
    [
        (r"/photos/.*/.*\.jpg", "/photos/", ""),
        (r"(a+)+$", "a", "b"),
        (r"(a|aa)+$", "a", "b"),
        (r"^(a*)*$", "a", "b"),
        (r".*b.*c", "b", ""),
        (r"[0-9]+x", "0", ""),
        (r"(\w+\s?)*!", "word ", ""),
        (r"(a|b)*a(a|b){8}c", "ab", ""),
        (r"\.(jpe?g|png)(\?|$)", ".jp", ""),
        (r"^/a/[^/]+/b", "/a/", ""),
        (r"^(?!.*thumb)", "/photos/", ""),
        (r"^(?!.*thumb).*\.jpg$", "/photos/", ""),
        (r"a*(?=b)", "a", ""),
        (r"(?i)(x+x+)+y", "x", ""),
    ],
)
def test_regexes(regex: str, piece: str, end: str) -> None:
    found_in = compile_search(regex)
    assert growth(found_in, repeated(piece, end), 20_000) <= MOST_GROWTH


@pytest.mark.parametrize("regex", [r"(a+)+$", r"(.*)(.*)(.*)x", r"([^.]+\.)+z$"])
def test_hosts_by_regex(regex: str) -> None:
    pattern, index = HostPattern.parse("~" + regex), HostIndex([[HostPattern.parse("~" + regex)]])
    for name in ("a" * 250 + "b", "a." * 120 + "b", "a" * 10_000):
        before = time.process_time()
        pattern.matches(name)
        index.candidates(name)
        assert time.process_time() - before < 0.05


@pytest.mark.parametrize("piece", ["a", "ü", "a.", "\u200b", "、。", "ß\u200d", "א1", "xn--"])
def test_names_of_hosts(piece: str) -> None:
    assert growth(normalise_host, repeated(piece), 100_000) <= MOST_GROWTH


_AGENTS = (
    "tizen ;tv;Mozilla/5.0 (;Android ;smart-;AFTA;mi;watch;_tv;SHIELD Android TV;okhttp;bot;é;a_;"
    "aaaaaaaaaaaa_;mi "
)
AGENT_PIECES = [*_AGENTS.split(";"), "Lenovo TB-", "windows nt ", "%"]


@pytest.mark.parametrize("piece", AGENT_PIECES)
def test_devices(piece: str) -> None:
    def fresh(agent: str) -> object:
        _device_of.cache_clear()
        return device_of({"user-agent": agent, "sec-ch-ua-mobile": agent})

    assert growth(fresh, repeated(piece), 500) <= MOST_GROWTH  # below the length it is cut to
    assert growth(fresh, repeated(piece), 50_000) <= MOST_GROWTH
    agent = repeated(piece)(48 * 1024)
    assert min(seconds(fresh, agent, 1) for _ in range(ROUNDS)) < 0.01


@pytest.mark.parametrize("piece", ['"', "\\", '"\\', ",", "a/b,", 'a/b;x="', "a", " ", "/", "a/"])
def test_content_types(piece: str) -> None:
    def fresh(content_type: str) -> object:
        _mime_type.cache_clear()
        return mime_type(content_type)

    assert growth(_mime_type.__wrapped__, repeated(piece), 20_000) <= MOST_GROWTH
    assert growth(fresh, repeated(piece), 50_000) <= MOST_GROWTH


@pytest.mark.parametrize("piece", [" ", "image", "é"])
def test_what_a_browser_wants_it_for(piece: str) -> None:
    assert (
        growth(lambda dest: classify(None, dest, None, "/"), repeated(piece), 50_000) <= MOST_GROWTH
    )


@pytest.mark.parametrize("piece", [".", "/", "?", "a."])
def test_extensions(piece: str) -> None:
    assert (
        growth(lambda path: classify(None, None, None, path), repeated(piece), 50_000)
        <= MOST_GROWTH
    )


@pytest.mark.parametrize("piece", [b"\r\n", b"<", b" ", b"G", b"<MP", b"--a\r\n", b"\xff\xfb\x90"])
def test_first_bytes(piece: bytes) -> None:
    def make(size: int) -> bytes:
        return piece * (size // len(piece))

    for content_type in (None, "multipart/x-mixed-replace"):
        told = partial(classify, content_type, None, path="/")
        assert growth(lambda head, told=told: told(first_bytes=head), make, 20_000) <= MOST_GROWTH
        assert growth(partial(needs_more, content_type=content_type), make, 200) <= MOST_GROWTH


def test_a_user_s_own_pattern_looks_at_so_much_of_a_text_and_no_more() -> None:
    assert TextPattern("~x$").matches("a" * (LONGEST_TEXT - 1) + "x")
    assert not TextPattern("~x$").matches("a" * LONGEST_TEXT + "x")
    twice = compile_search(r"^(?!x)a.*b.*c$")
    assert twice("a" + "-" * (LONGEST_BACKTRACKED - 10) + "bc")
    assert not twice("a" + "-" * LONGEST_BACKTRACKED + "bc")
    before = time.process_time()
    assert not twice("ab" * 50_000)
    assert time.process_time() - before < 1


@pytest.mark.parametrize("regex", [r"(a+)+(?=b)", r"(?!x)(a|aa)*$", r".*a.*b.*c(?<=d)", r"(a*)\1"])
def test_what_could_take_for_ever_is_refused_with_a_remedy(regex: str) -> None:
    with pytest.raises(ValueError, match=r"could take for ever .*`pass: true`"):
        TextPattern("~" + regex)


def test_an_expression_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="write a simpler one"):
        TextPattern("~((a{50}){50}){50}")


def test_what_is_kept_is_bounded() -> None:
    _kept_hosts.cache_clear()
    _device_of.cache_clear()
    index = HostIndex([[HostPattern.parse(".example.com")]])
    for number in range(200):
        name = f"{number}." * 200_000 + "example.com"
        assert index.candidates(name) == ()
        assert not HostPattern.parse(".example.com").matches(name)
        device_of({"user-agent": f"{number}" * 500_000})
    assert not index._cache
    assert _kept_hosts.cache_info().currsize <= 1
    assert (_kept_hosts.cache_info().maxsize or 0) * LONGEST_WRITTEN * 4 < 8 * 2**20
    assert (_device_of.cache_info().maxsize or 0) * 1024 * 4 <= 16 * 2**20
    assert CACHED_HOSTS <= 4096


PIECES = [
    "a", "b", ".", r"\w", r"\d", r"\s", r"\W", "[ab]", "[^a]", "[a-c_]", "(a|b)", "(?:ab|a)",
    "(|a)", "^", "$", r"\b", r"\A", r"\Z", "a*", "a+?", "a??", "(a+)+", "(a*)*", "b{2,3}",
    "(?:a|b){2}", "(?i:A)", "é", "_", "\n", "(?s:.)", "(?m:^)", "(?m:$)",
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    st.text(alphabet="abAB é_\n1", max_size=8),
    st.sampled_from([0, 2, 8, 16, 256]),  # none, IGNORECASE, MULTILINE, DOTALL, ASCII
)
@example("a$", "a\n", 0)
@example("a$", "a\n\n", 0)
@example(r"a\Z", "a\n", 0)
def test_it_finds_what_re_finds(regex: str, text: str, flags: int) -> None:
    try:
        wanted = re.search(regex, text, flags) is not None
    except re.error:
        return
    automaton = _Automaton(regex, _parser.parse(regex, flags))
    assert automaton.found_in(text) is wanted
    assert automaton.found_in(text) is wanted  # from the steps it has kept
    assert compile_search(regex, flags)(text) is wanted


@given(st.text(alphabet="ab*?.", min_size=1, max_size=8), st.text(alphabet="ab.\n", max_size=10))
def test_a_glob_matches_what_trying_all_would_match(glob: str, text: str) -> None:
    def tried(pattern: str, rest: str) -> bool:
        if not pattern:
            return not rest
        if pattern[0] == "*":
            return any(tried(pattern[1:], rest[start:]) for start in range(len(rest) + 1))
        return bool(rest) and pattern[0] in ("?", rest[0]) and tried(pattern[1:], rest[1:])

    assert bool(compile_glob(glob)(text)) is tried(glob, text)


def test_an_automaton_that_is_full_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mitmthrottle.policy.language.regex.MOST_STEPS_KEPT", 50)
    found_in = compile_search(r"(a|b)*a(a|b){6}c")
    noise = "".join("ab"[(number * number // 7) % 2] for number in range(3000))
    assert not found_in(noise)
    assert found_in(noise + "abababac")


def test_the_measure_sees_what_is_not_linear() -> None:
    assert growth(re.compile(r".*b.*c").search, repeated("b"), 300) > MOST_GROWTH
