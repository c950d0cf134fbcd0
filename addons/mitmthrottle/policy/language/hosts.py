"""Host names: how they are written, compared, and looked up among many rules.

The one rule: names are compared label by label, never as substrings; only `~regex` looks at the
name as text. Both sides are normalised first: case-folded, IDNA A-labels as browsers make them
(UTS 46), no trailing dot, no port, no brackets. What is longer than any name matches nothing and
is not kept.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import idna

from mitmthrottle.policy.language.pattern import search_of

HostKind = Literal["exact", "subtree", "subdomains", "regex"]
CACHED_HOSTS = 4096
LONGEST_NAME = 253  # of a name in DNS
LONGEST_WRITTEN = LONGEST_NAME + 9  # with brackets, a trailing dot and a port

_PLAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_LABEL = re.compile(r"[^\x00-\x20/\\:*?#@\[\]%~,;'\"()<>{}|^`=&!$+\x7f]{1,63}")
_JOINERS = "\u200c\u200d"
_DOTS = re.compile("[\u3002\uff0e\uff61]")  # full stops of other scripts, as browsers read them


def normalise_host(host: str) -> str:
    """The name to compare by: `Bücher.Example.:443` -> `xn--bcher-kva.example`.

    Never raises: what is no host name comes back folded, and simply matches nothing; what is
    longer than any comes back empty.
    """
    return _normalise(host) if len(host) <= LONGEST_WRITTEN else ""


@lru_cache(maxsize=CACHED_HOSTS)
def _normalise(host: str) -> str:
    if _PLAIN.fullmatch(host):
        return host
    name = host.strip()
    if name.startswith("["):
        name = name[1:].split("]", 1)[0]
    elif name.count(":") == 1:
        name = name.split(":", 1)[0]
    if ":" in name:  # IPv6: one spelling for each address
        try:
            return str(ipaddress.ip_address(name.split("%", 1)[0]))
        except ValueError:
            return name.lower()
    try:
        name = _a_labels(name)
    except ValueError:
        name = _DOTS.sub(".", unicodedata.normalize("NFKC", name)).lower()
    name = name.removesuffix(".")
    return name if len(name) <= LONGEST_NAME else ""


def _a_labels(name: str) -> str:
    """A name as DNS carries it, mapped as browsers do it: UTS 46, non-transitional, with symbols.

    ValueError for what no browser takes for a name.
    """
    if name.isascii():
        return name.lower()
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        labels = _DOTS.sub(".", mapped).split(".")
        right_to_left = any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in mapped)
        for label in labels:
            _check_label(label, right_to_left)
    except idna.IDNAError as refused:
        raise ValueError(f"{refused}") from None
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
        for label in labels
    )


def _check_label(label: str, right_to_left: bool) -> None:
    """What UTS 46 asks of a label beyond its characters, as browsers have it."""
    if not label or label.isascii():
        return
    idna.check_initial_combiner(label)
    for position, char in enumerate(label):
        if char in _JOINERS and not idna.valid_contextj(label, position):
            raise idna.IDNAError(f"U+{ord(char):04X} joins nothing there")
    if right_to_left:
        idna.check_bidi(label)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One entry of a host list: `example.com`, `.example.com`, `*.example.com` or `~regex`.

    `name` is normalised and carries no leading dot; of a regex it is the expression's text.
    """

    text: str
    kind: HostKind
    name: str

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """ValueError, with a remedy, for what is no host pattern (a group's name is none)."""
        if text.startswith("~"):
            _searcher(text[1:])
            return cls(text, "regex", text[1:])
        bare = text.strip()
        if bare == "*":
            raise ValueError("`*` is every host: leave `host` out")
        kind: HostKind = "exact"
        name = bare
        if bare.startswith("*."):
            kind, name = "subdomains", bare[2:]
        elif bare.startswith("."):
            kind, name = "subtree", bare[1:]
        _refuse_slips(text, name)
        _refuse_strange(text, name)
        normal = normalise_host(name)
        if ":" in normal:
            _refuse_bad_address(text, normal)
        elif kind == "exact" and "." not in normal and normal != "localhost":
            raise ValueError(
                f"`{text}` is a word without a dot, so it names a group: "
                f"write `.{normal}` for the host itself"
            )
        elif len(normal) > 253 or not all(_LABEL.fullmatch(part) for part in normal.split(".")):
            raise ValueError(
                f"`{text}` is no host name: write `example.com`, `.example.com` (with "
                'subdomains), `"*.example.com"` (subdomains only) or `~regex`'
            )
        return cls(text, kind, normal)

    def __str__(self) -> str:
        return self.text

    def matches(self, host: str) -> bool:
        """Whether a host (normalised here) is one that this pattern means."""
        name = normalise_host(host)
        if self.kind == "exact":
            return name == self.name
        if self.kind == "regex":
            return _searcher(self.name)(name)
        return name.endswith("." + self.name) or (self.kind == "subtree" and name == self.name)

    def keys_that_cover(self) -> Iterator[tuple[HostKind, str]]:
        """(kind, name) of every pattern that surely matches all that this one matches."""
        yield self.kind, self.name
        if self.kind == "regex":
            return
        labels = self.name.split(".")
        for start in range(len(labels)):
            suffix = ".".join(labels[start:])
            yield "subtree", suffix
            if start or self.kind == "subdomains":
                yield "subdomains", suffix


def is_group_word(text: str) -> bool:
    """A word without a dot is a group's name; `localhost` and regexes are not."""
    return (
        bool(text.strip())
        and not (text.startswith(("~", "*", ".")) or "." in _DOTS.sub(".", text))
        and (text.strip().lower() != "localhost" and ":" not in text and "/" not in text)
    )


@lru_cache(maxsize=1024)
def _searcher(source: str) -> Callable[[str], bool]:
    return search_of(source, re.IGNORECASE)


def _refuse_strange(text: str, name: str) -> None:
    """Characters that no browser takes in a name; it would never be asked for."""
    try:
        _a_labels(name)
    except (ValueError, UnicodeError):
        for char in sorted(set(name) - set(_JOINERS)):
            try:
                idna.uts46_remap(char, std3_rules=False, transitional=False)
            except idna.IDNAError:
                raise ValueError(
                    f"`{text}` is no host name: browsers take no U+{ord(char):04X} in one: "
                    "delete that character"
                ) from None
        raise ValueError(
            f"`{text}` is no host name to browsers, which refuse these characters in this order "
            "(UTS 46): copy the name from a browser's address bar"
        ) from None


def _refuse_slips(text: str, name: str) -> None:
    if not name:
        raise ValueError(f"`{text}` names no host: write for example `example.com`")
    if "://" in name:
        host = name.split("://", 1)[1].split("/", 1)[0]
        raise ValueError(f"`{text}` is a URL: write the host only, `{host}`")
    if "/" in name:
        raise ValueError(
            f"`{text}`: a host has no path: write `{name.split('/', 1)[0]}` here and use `path`"
        )
    if re.fullmatch(r"[^:]+:[0-9]+", name):
        raise ValueError(
            f"`{text}`: a host has no port: write `{name.split(':', 1)[0]}` here and use `port`"
        )
    if "*" in name:
        raise ValueError(
            f'`{text}`: `*` stands only at the start, as in `"*.example.com"`; '
            "for anything else use a `~regex`"
        )


def _refuse_bad_address(text: str, name: str) -> None:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise ValueError(f"`{text}` is no host name and no IPv6 address") from None


class HostIndex:
    """From a host to the rules that may want it, in time that depends on its labels only.

    Built from one entry per rule: its patterns, or None for a rule without a host condition.
    Regexes cannot be indexed and are tried one by one.
    """

    def __init__(self, rules: Iterable[Sequence[HostPattern] | None]) -> None:
        self._every: list[int] = []
        self._exact: dict[str, list[int]] = {}
        self._below: dict[str, list[int]] = {}
        self._regex: list[tuple[Callable[[str], bool], int]] = []
        self._cache: dict[str, tuple[int, ...]] = {}
        for index, patterns in enumerate(rules):
            if patterns is None:
                self._every.append(index)
                continue
            for pattern in patterns:
                if pattern.kind == "regex":
                    self._regex.append((_searcher(pattern.name), index))
                if pattern.kind in ("exact", "subtree"):
                    self._exact.setdefault(pattern.name, []).append(index)
                if pattern.kind in ("subtree", "subdomains"):
                    self._below.setdefault(pattern.name, []).append(index)

    def candidates(self, host: str) -> tuple[int, ...]:
        """Indexes, ascending, of the rules whose host condition holds for this host."""
        if len(host) > LONGEST_WRITTEN:
            return tuple(sorted(self._search("")))  # too long for a key
        known = self._cache.get(host)
        if known is None:
            if len(self._cache) >= CACHED_HOSTS:
                self._cache.clear()
            known = self._cache[host] = tuple(sorted(self._search(normalise_host(host))))
        return known

    def _search(self, name: str) -> set[int]:
        found = set(self._every)
        found.update(self._exact.get(name, ()))
        dot = name.find(".")
        while dot >= 0:
            found.update(self._below.get(name[dot + 1 :], ()))
            dot = name.find(".", dot + 1)
        found.update(index for regex, index in self._regex if regex(name))
        return found
