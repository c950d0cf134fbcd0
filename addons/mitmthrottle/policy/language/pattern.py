"""Text patterns of `path`, `header` and `user_agent`: a glob, or `~` and a regular expression.

A glob matches the whole text: `*` is any run of characters (slashes too), `?` any one of them,
everything else stands for itself. A `~regex` is searched anywhere in the text (anchor it with
`^` and `$`). Paths keep their case; headers and user agents are compared without it.

The one rule: these texts come from whoever sends a request, so no pattern may take longer than
in proportion to the text. Globs never go back over a star once what follows it was found;
regexes are regex.py's. What is longer than LONGEST_TEXT is looked at up to there.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from mitmthrottle.policy.language.regex import compile_search

LONGEST_TEXT = 16 * 1024  # characters; common servers refuse a longer request line or header


@dataclass(frozen=True, slots=True)
class TextPattern:
    """One pattern as written, with its compiled test. Equal when written alike."""

    text: str
    ignore_case: bool = False
    matches: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "matches", _compile(self.text, self.ignore_case))

    def __str__(self) -> str:
        return self.text

    @property
    def is_regex(self) -> bool:
        return self.text.startswith("~")

    @property
    def is_literal(self) -> bool:
        """True when it matches one text only (up to case)."""
        return not self.is_regex and "*" not in self.text and "?" not in self.text

    def covers(self, other: TextPattern) -> bool:
        """True only when it is certain that all that `other` matches, this matches too."""
        if self == other or (not self.is_regex and set(self.text) == {"*"}):
            return True
        return (
            other.is_literal
            and bool(self.matches(other.text))
            and (self.ignore_case or not other.ignore_case)
        )

    def __reduce__(self) -> tuple[type[TextPattern], tuple[str, bool]]:
        return TextPattern, (self.text, self.ignore_case)


def compile_regex(source: str, flags: int = 0) -> re.Pattern[str]:
    """Compile what follows a `~`; ValueError says where and why it does not compile."""
    if not source:
        raise ValueError("`~` needs a regular expression after it, as in `~^/photos/`")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful but valid regex is the user's own
            return re.compile(source, flags)
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        raise ValueError(
            f"`~{source}` is no regular expression: {error.msg}{place}; "
            "put a backslash before a character that is meant literally"
        ) from None
    except (OverflowError, RecursionError):
        raise ValueError(
            f"`~{source[:60]}` is too large or too deeply nested for a regular expression: "
            "write a simpler one"
        ) from None


def compile_glob(glob: str, flags: int = 0) -> Callable[[str], object]:
    """Whether a glob matches all of a text, in time that grows with the text only.

    The first place where a part between two stars is found is as good as any later one, so each
    part is an atomic group, to which nothing goes back.
    """
    first, *parts = (
        "".join("." if char == "?" else re.escape(char) for char in part)
        for part in re.sub(r"\*+", "*", glob).split("*")
    )
    if not parts:
        return re.compile(first, flags | re.DOTALL).fullmatch
    *middle, last = parts
    found = "".join(f"(?>.*?{part})" for part in middle)
    return re.compile(f"{first}{found}.*{last}", flags | re.DOTALL).fullmatch


def search_of(source: str, flags: int = 0) -> Callable[[str], bool]:
    """Whether what follows a `~` is found in a text; ValueError says what is wrong with it."""
    compile_regex(source, flags)
    return compile_search(source, flags)


def _compile(text: str, ignore_case: bool) -> Callable[[str], object]:
    flags = re.IGNORECASE if ignore_case else 0
    if not text:
        raise ValueError("an empty pattern matches nothing: write `*` for any text")
    matches: Callable[[str], object]
    matches = search_of(text[1:], flags) if text.startswith("~") else compile_glob(text, flags)

    def bounded(value: str) -> object:
        return matches(value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT])

    return bounded
