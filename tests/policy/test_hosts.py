"""Hosts: written many ways, compared label by label, found fast among many rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.policy import HostIndex, HostPattern, normalise_host


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("example.com:8443", "example.com"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.:443", "xn--bcher-kva.example"),
        ("xn--BCHER-kva.example", "xn--bcher-kva.example"),
        ("straße.de", "xn--strae-oqa.de"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("2001:db8:0:0::1", "2001:db8::1"),
        ("[::1]", "::1"),
        ("10.0.0.1:80", "10.0.0.1"),
        ("", ""),
    ],
)
def test_names_are_normalised(written: str, name: str) -> None:
    assert normalise_host(written) == name


@given(st.text(max_size=40))
def test_normalising_never_raises(text: str) -> None:
    assert isinstance(normalise_host(text), str)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("t.co", ["t.co", "T.CO.", "t.co:443"], ["a.t.co", "microsoft.com", "t.com"]),
        (".t.co", ["t.co", "a.t.co", "a.b.t.co"], ["microsoft.com", "reddit.com", "xt.co"]),
        ("*.t.co", ["a.t.co", "a.b.t.co"], ["t.co", "xt.co"]),
        ("~t\\.co", ["t.co", "microsoft.com", "reddit.com", "T.CO"], ["example.org"]),
        ("~twitter\\.com$", ["nottwitter.com", "www.twitter.com"], ["twitter.com.evil.org"]),
        (".Bücher.example", ["www.xn--bcher-kva.example", "bücher.example"], ["bucher.example"]),
        ("localhost", ["localhost", "LOCALHOST:8080"], ["a.localhost"]),
        (".web", ["web", "a.web"], ["aweb"]),
        ("[::1]", ["::1", "[::1]:8080"], ["::2"]),
        ("127.0.0.1", ["127.0.0.1:80"], ["127.0.0.10"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    parsed = HostPattern.parse(pattern)
    index = HostIndex([[parsed]])
    for host in yes:
        assert parsed.matches(host), host
        assert index.candidates(host) == (0,), host
    for host in no:
        assert not parsed.matches(host), host
        assert index.candidates(host) == (), host


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("exa\u200bmple.com", "example.com"),
        ("exa\u00admple.com", "example.com"),
        ("\ufeffexample.com", "example.com"),
        ("exam\u2060ple.com", "example.com"),
        ("exa\ufe0fmple.com", "example.com"),
        (".exa\u200bmple.com", "www.example.com"),
        ("*.exam\u00adple.com", "www.example.com"),
        ("ΒΌΛΟΣ.com", "xn--nxasmq6b.com"),  # a sigma in capitals is never the final one
        ("βόλος.com", "xn--nxasmm1c.com"),  # written small, it is
        ("ẞ.de", "xn--zca.de"),
        ("İ.com", "xn--i-9bb.com"),
        ("☃.net", "xn--n3h.net"),
        ("😀.example", "xn--e28h.example"),
        ("\u06cc\u06a9\u200c\u0632.com", "xn--xgb1vrd273i.com"),
    ],
)
def test_a_name_is_what_a_browser_makes_of_it(written: str, asked: str) -> None:
    pattern = HostPattern.parse(written)
    assert pattern.matches(asked)
    assert HostIndex([[pattern]]).candidates(asked) == (0,)
    assert HostIndex([[pattern]]).candidates(asked.upper()) == (0,)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("a\u2028b.com", "browsers take no U+2028 in one"),
        ("a\ufffdb.com", "browsers take no U+FFFD in one"),
        ("\u0301a.com", "refuse these characters in this order"),
        ("a\u200db.com", "refuse these characters in this order"),
        ("אa1.com", "refuse these characters in this order"),
        ("\u200b.com", "is no host name"),
        ("\u00ad", "is no host name|names a group"),
    ],
)
def test_what_no_browser_takes_for_a_name_is_refused(written: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("+", r"\+")):
        HostPattern.parse(written)


def test_a_name_longer_than_any_matches_nothing() -> None:
    long = "a." * 130 + "example.com"
    assert normalise_host(long) == normalise_host("a" * 10**6) == ""
    index = HostIndex([[HostPattern.parse(".example.com")], [HostPattern.parse("~example")], None])
    assert index.candidates(long) == (2,)


LABELS = st.sampled_from(["a", "b", "t", "co", "com", "twitter", "microsoft", "xn--bcher-kva"])
HOSTS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.one_of(
    st.builds(lambda prefix, host: prefix + host, st.sampled_from([".", "*.", ""]), HOSTS).filter(
        lambda text: "." in text
    ),
    st.sampled_from(["~t\\.co", "~^a", "~com$"]),
).map(HostPattern.parse)


@given(st.lists(st.none() | st.lists(PATTERNS, min_size=1, max_size=3), max_size=12), HOSTS)
def test_the_index_finds_what_trying_all_would_find(
    rules: list[list[HostPattern] | None], host: str
) -> None:
    brute_force = tuple(
        number
        for number, patterns in enumerate(rules)
        if patterns is None or any(pattern.matches(host) for pattern in patterns)
    )
    index = HostIndex(rules)
    assert index.candidates(host) == brute_force
    assert index.candidates(host.upper() + ".:443") == brute_force
    assert index.candidates(host) == brute_force  # from its cache


@given(PATTERNS, PATTERNS, HOSTS)
def test_a_pattern_that_covers_another_matches_all_of_it(
    wide: HostPattern, narrow: HostPattern, host: str
) -> None:
    if (wide.kind, wide.name) in narrow.keys_that_cover() and narrow.matches(host):
        assert wide.matches(host)


def test_many_hosts_do_not_grow_the_cache_without_end() -> None:
    index = HostIndex([[HostPattern.parse(".example.com")]])
    for number in range(10_000):
        assert index.candidates(f"h{number}.example.com") == (0,)
    assert len(index._cache) <= 4096
