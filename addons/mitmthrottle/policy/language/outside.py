"""Text that came from outside: cut to a length, and shown without what a terminal would obey.

Rule: every character that is not printable is escaped (`\\x1b`, `\\u202e`), and so is every byte
that is no UTF-8 (`\\xff`): what comes out can be printed, compared, and written as JSON.
"""

from __future__ import annotations

CUT = "…"
"""stands where something was left out"""


def printable(text: str) -> str:
    """The same text, with escapes for what cannot be printed.

    >>> printable("a\\x1b[1m" + b"\\xff".decode("utf-8", "surrogateescape"))
    'a\\\\x1b[1m\\\\xff'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def cut(text: str, most_chars: int) -> str:
    """At most so many characters: the beginning and the end, since both may tell what it is.

    >>> cut("/photos/2021/large.jpg", 12)
    '/photos/….jpg'
    """
    if len(text) <= most_chars:
        return text
    end = most_chars // 4
    return f"{text[: most_chars - end - 1]}{CUT}{text[len(text) - end :]}"


def text_of(data: bytes, most_chars: int) -> str:
    """Bytes of a protocol as printable text of at most so many characters."""
    if len(data) <= most_chars and data.isascii():
        text = data.decode("ascii")
        if text.isprintable():  # nearly always
            return text
    elif len(data) > 4 * most_chars:  # a character has four bytes at most
        end = most_chars
        data = data[: 4 * most_chars - end] + CUT.encode() + data[len(data) - end :]
    return cut(printable(data.decode("utf-8", "surrogateescape")), most_chars)


def shown(text: str, most_chars: int) -> str:
    """`text_of` of what is a text already."""
    if len(text) <= most_chars and text.isprintable():
        return text
    return cut(printable(cut(text, most_chars)), most_chars)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, see PEP 383
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
