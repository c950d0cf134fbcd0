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
