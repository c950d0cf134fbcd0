"""Text patterns of `path`, `header` and `user_agent`: a glob, or `~` and a regular expression.

A glob matches the whole text: `*` is any run of characters (slashes too), `?` any one of them,
everything else stands for itself. A `~regex` is searched anywhere in the text (anchor it with
`^` and `$`). Paths keep their case; headers and user agents are compared without it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field


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


def glob_regex(glob: str) -> str:
    """The regular expression that says the same as a glob."""
    kept = {"*": ".*", "?": "."}
    # runs of stars are one star: `**` would only make the search slower
    return "".join(kept.get(char) or re.escape(char) for char in re.sub(r"\*+", "*", glob))


def _compile(text: str, ignore_case: bool) -> Callable[[str], object]:
    flags = re.IGNORECASE if ignore_case else 0
    if text.startswith("~"):
        return compile_regex(text[1:], flags).search
    if not text:
        raise ValueError("an empty pattern matches nothing: write `*` for any text")
    return re.compile(glob_regex(text), flags | re.DOTALL).fullmatch
