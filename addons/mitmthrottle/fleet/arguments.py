"""What of mitmdump's arguments concerns the workers.

Rule: everything else is passed on as it came, in its order: it is mitmdump's to understand.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_WORKERS = 64
_OPTION = "--workers"


def take_workers(arguments: Sequence[str]) -> tuple[int | None, list[str]]:
    """`--workers N` or `--workers=N` and the other arguments; None where it is not said.

    ValueError, with a remedy, for what is no number of workers.

    >>> take_workers(["-p", "8080", "--workers", "2"])
    (2, ['-p', '8080'])
    """
    workers: int | None = None
    rest = []
    given = iter(arguments)
    for argument in given:
        name, equals, value = argument.partition("=")
        if name == _OPTION:
            workers = parse_workers(value if equals else next(given, ""))
        else:
            rest.append(argument)
    return workers, rest


def parse_workers(text: str) -> int:
    """ValueError, with a remedy, for what is no number of workers."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_WORKERS):
        raise ValueError(
            f"`{text}` is no number of workers: write {_OPTION} 2, at most {MOST_WORKERS}; "
            "more than the machine has cores are of no use"
        )
    return int(text)


def settings(arguments: Sequence[str], name: str) -> list[str]:
    """The values of each `--set name=…` among mitmdump's arguments, in their order.

    >>> settings(["--set", "http2=false", "--set=http2=true", "http2=no"], "http2")
    ['false', 'true']
    """
    return _split(arguments, name)[0]


def without(arguments: Sequence[str], name: str) -> list[str]:
    """The arguments without each `--set name=…`: mitmdump takes an option once only."""
    return _split(arguments, name)[1]


def _split(arguments: Sequence[str], name: str) -> tuple[list[str], list[str]]:
    found, rest = [], []
    given = iter(arguments)
    for argument in given:
        words = [argument]
        setting = argument.removeprefix("--set=") if argument.startswith("--set=") else ""
        if argument == "--set" and (setting := next(given, "")):
            words.append(setting)
        option, _, value = setting.partition("=")
        if option == name:
            found.append(value)
        else:
            rest += words
    return found, rest
