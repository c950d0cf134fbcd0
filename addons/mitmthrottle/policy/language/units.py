"""Quantities as people write them, and back: "128 kbit/s" -> 16000.0 bytes per second.

The one rule: a quantity needs its unit. A bare number is refused with the unit that is missing,
and `b` (bit) is never taken for `B` (byte). Kilo, mega and giga may be written in either case.
Every function raises ValueError with a sentence that says what would be right.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal

LOWEST_RATE_BYTES_PER_S = 1.0
HIGHEST_RATE_BYTES_PER_S = 125e9  # 1 Tbit/s: more than any proxy relays, so surely a slip
HIGHEST_SIZE_BYTES = 2**50  # 1 PiB
LONGEST_DURATION_S = 366 * 86400.0

_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*(.*?)\s*", re.DOTALL)
# Numbers as programs, tables and people of other places write them.
_OTHER_NUMBER = re.compile(
    r"\s*([+-]?)([0-9]+(?:[_'’ \u00a0\u2009\u202f][0-9]+)*)(\.[0-9_]+)?"
    r"(?:\s*[eE]([+-]?[0-9]{1,3})(?![0-9]))?"
    r"\s*([^0-9_'’.,\s].*?)?\s*",
    re.DOTALL,
)
_THOUSANDS = re.compile(r"\s*([0-9]{1,3}(?:,[0-9]{3})+)(\.[0-9]+)?\s*([^0-9,.].*?)?\s*", re.DOTALL)
_PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_RATE_UNIT = re.compile(r"([kKmMgGtT]i?)?(b|B|[bB]its?|[bB]ytes?)(/s|/sec|/second|ps)?")
_SIZE_UNIT = re.compile(r"([kKmMgGtT]i?)?(b|B|[bB]its?|[bB]ytes?)")
_DURATIONS = {
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_DURATION_WORDS = {
    "m": "min",
    "msec": "ms",
    "seconds": "s",
    "second": "s",
    "minutes": "min",
    "minute": "min",
    "hours": "h",
    "hour": "h",
    "days": "d",
    "day": "d",
}


def parse_rate(text: str) -> float:
    """`128 kbit/s`, `1.5 Mbps`, `64 KiB/s` -> bytes per second."""
    number, unit = _split(text, "a rate", "128 kbit/s")
    found = _RATE_UNIT.fullmatch(unit)
    if not unit or (found is None and unit.lower() in {*"kmgt", "k/s", "m/s", "g/s"}):
        prefix = "M" if unit[:1].lower() == "m" else "G" if unit[:1].lower() == "g" else "k"
        raise ValueError(
            f"`{text}`: a rate needs a unit: did you mean `{number} {prefix}bit/s` "
            f"or `{number} {prefix}B/s`?"
        )
    if found is None:
        raise _unit_problem(text, number, unit, "a rate", _RATE_UNITS)
    prefix, word, per = found.groups(default="")
    if not per:
        raise ValueError(f"`{text}`: a rate is per second: did you mean `{number} {unit}/s`?")
    value = float(number) * _factor(prefix) / (8 if _is_bits(word) else 1)
    if value <= 0:
        raise ValueError(
            f"`{text}`: a rate must be more than zero; to let nothing through, use `block`"
        )
    if not LOWEST_RATE_BYTES_PER_S <= value <= HIGHEST_RATE_BYTES_PER_S:
        raise ValueError(
            f"`{text}`: no rate can be that {'low' if value < 1 else 'high'}: "
            "give one from `8 bit/s` to `1000 Gbit/s`"
        )
    return value


def parse_size(text: str) -> int:
    """`64 KiB`, `2 MB`, `512 B` -> bytes. Zero is a size; a part of a byte is not."""
    number, unit = _split(text, "a size", "64 KiB")
    found = _SIZE_UNIT.fullmatch(unit)
    if not unit or (found is None and unit.lower() in set("kmgt")):
        prefix = unit.upper() if unit else "K"
        decimal = "k" if prefix == "K" else prefix
        raise ValueError(
            f"`{text}`: a size needs a unit: did you mean `{number} {prefix}iB` "
            f"or `{number} {decimal}B`?"
        )
    if found is None:
        raise _unit_problem(text, number, unit, "a size", _SIZE_UNITS)
    prefix, word = found.groups(default="")
    if _is_bits(word):
        raise ValueError(
            f"`{text}`: a size is in bytes, `b` is a bit: did you mean `{number} {prefix}B`?"
        )
    value = float(number) * _factor(prefix)
    if value < 0:
        raise ValueError(f"`{text}`: a size cannot be negative")
    if value > HIGHEST_SIZE_BYTES:
        raise ValueError(f"`{text}`: no body is that large: give at most `1024 TiB`")
    return round(value)


def parse_duration(text: str) -> float:
    """`300 ms`, `2 s`, `10 min`, `1 h`, `1 d` -> seconds. Zero is a duration."""
    number, unit = _split(text, "a duration", "300 ms")
    if not unit:
        raise ValueError(
            f"`{text}`: a duration needs a unit: did you mean `{number} ms` or `{number} s`?"
        )
    if unit not in _DURATIONS:
        right = _DURATION_WORDS.get(unit.lower())
        if right is None and unit.lower() in _DURATIONS:
            right = unit.lower()
        if right:
            raise ValueError(
                f"`{text}`: `{unit}` is no unit of a duration: did you mean `{number} {right}`?"
            )
        raise _unit_problem(text, number, unit, "a duration", list(_DURATIONS))
    value = round(float(number) * _DURATIONS[unit], 9)  # no clock tells less than a nanosecond
    if value < 0:
        raise ValueError(f"`{text}`: a duration cannot be negative")
    if value > LONGEST_DURATION_S:
        raise ValueError(f"`{text}`: no duration can be that long: give at most `366 d`")
    return value


def parse_share(text: str) -> float:
    """`50%` or `12.5 %` -> 0.5, 0.125. From 0 to 100 % inclusive."""
    number, unit = _split(text, "a share", "50%")
    if unit != "%":
        value = float(number)
        percent = value * 100 if 0 < value < 1 else value
        guess = f"{percent:g}" if 0 <= percent <= 100 else "50"
        raise ValueError(f"`{text}`: a share is in percent: did you mean `{guess}%`?")
    if not 0 <= float(number) <= 100:
        raise ValueError(f"`{text}`: a share is from `0%` to `100%`")
    return float(number) / 100


def format_rate(bytes_per_s: float) -> str:
    """16000.0 -> `128 kbit/s`; six significant digits."""
    return _scaled(bytes_per_s * 8, 1000, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"))


def format_size(size_bytes: int) -> str:
    """65536 -> `64 KiB`, 2000000 -> `2 MB`: whichever says it in fewer characters."""
    binary = _scaled(size_bytes, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    decimal = _scaled(size_bytes, 1000, ("B", "kB", "MB", "GB", "TB"))
    return min(binary, decimal, key=lambda text: len(text.replace("i", "")))


def format_duration(seconds: float) -> str:
    """0.3 -> `300 ms`, 90.0 -> `90 s`, 600.0 -> `10 min`; six significant digits."""
    for unit in ("d", "h", "min"):
        if seconds >= _DURATIONS[unit] and (seconds / _DURATIONS[unit]).is_integer():
            return f"{seconds / _DURATIONS[unit]:g} {unit}"
    if seconds >= 1 or seconds == 0:
        return f"{_digits(seconds)} s"
    return f"{_digits(seconds * 1e3)} ms" if seconds >= 1e-3 else f"{_digits(seconds * 1e6)} us"


def format_share(share: float) -> str:
    """0.5 -> `50%`."""
    return f"{_digits(share * 100)}%"


def exact_rate(bytes_per_s: float) -> str:
    """As `format_rate`, but such that `parse_rate` gives the same number again."""
    text = format_rate(bytes_per_s)
    return text if parse_rate(text) == bytes_per_s else f"{_plain(bytes_per_s)} B/s"


def exact_size(size_bytes: int) -> str:
    """As `format_size`, but such that `parse_size` gives the same number again."""
    text = format_size(size_bytes)
    return text if parse_size(text) == size_bytes else f"{size_bytes} B"


def exact_duration(seconds: float) -> str:
    """As `format_duration`, but such that `parse_duration` gives the same number again."""
    text = format_duration(seconds)
    return text if parse_duration(text) == seconds else f"{_plain(seconds)} s"


def exact_percent(fraction: float) -> str:
    """0.999 -> `99.9`: such that the number divided by 100 is the same fraction again."""
    return next(
        (text for text in _percents(fraction) if float(text) / 100 == fraction),
        _plain(fraction * 100),
    )


def did_you_mean(word: str, choices: list[str], before: str = ": did you mean ") -> str:
    """A clause naming the nearest choice, or nothing when none is near."""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if not near:
        folded = {choice.casefold(): choice for choice in choices}
        near = [
            folded[key]
            for key in difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
        ]
    return f"{before}`{near[0]}`?" if near else ""


_RATE_UNITS = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "B/s", "kB/s", "MB/s", "KiB/s", "kbps"]
_SIZE_UNITS = ["B", "kB", "MB", "GB", "KiB", "MiB", "GiB", "bytes"]
_EXAMPLES = {
    "a rate": "`128 kbit/s` or `16 kB/s`",
    "a size": "`64 KiB` or `2 MB`",
    "a duration": "`300 ms`, `2 s`, `10 min` or `1 h`",
}


def _split(text: str, what: str, example: str) -> tuple[str, str]:
    _refuse_other_numbers(text, example)
    found = _NUMBER.fullmatch(text)
    if found is None:
        if re.match(r"\s*[0-9]+,[0-9]", text):
            raise ValueError(f"`{text}`: write decimals with a point: `{text.replace(',', '.')}`")
        raise ValueError(f"`{text}`: {what} is a number and a unit, as in `{example}`")
    number, unit = found.groups()
    if len(number) > 60:
        raise ValueError(f"`{text[:40]}`…: {what} with that many digits is surely a slip")
    if "," in unit and unit[0] == ",":
        raise ValueError(f"`{text}`: write decimals with a point: `{text.replace(',', '.')}`")
    return number, unit


def _refuse_other_numbers(text: str, example: str) -> None:
    """ValueError, with the same number in plain digits, for the other ways to write one."""
    short = text if len(text) <= 60 else text[:60] + "…"
    found = _THOUSANDS.fullmatch(text)
    if found and len(text) <= 60:
        whole, part, unit = found.groups(default="")
        plain = f"{whole.replace(',', '')}{part} {unit}".strip()
        other = f"`{text.replace(',', '.').strip()}`"
        ambiguous = whole.count(",") == 1 and not part
        raise ValueError(
            f"`{text}`: write thousands without a comma: did you mean `{plain}`"
            + (f" or, with a decimal point, {other}?" if ambiguous else "?")
        )
    found = _OTHER_NUMBER.fullmatch(text)
    if found is None:
        return
    sign, whole, part, exponent, unit = found.groups(default="")
    digits = re.sub("[^0-9]", "", whole)
    decimals = part.replace("_", "")
    if digits == whole and decimals == part and not exponent:
        return
    number = Decimal(f"{sign}{digits}{decimals or ''}e{exponent or 0}")
    if number and not -30 < number.adjusted() < 30:
        raise ValueError(f"`{short}`: that number is surely a slip: write `{example}`")
    plain = format(number, "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    unit = unit or ("%" if example.endswith("%") else example.rpartition(" ")[2])
    quantity = f"{plain}%" if unit == "%" else f"{plain} {unit}"
    raise ValueError(f"`{short}`: write the number in plain digits: did you mean `{quantity}`?")


def _factor(prefix: str) -> int:
    key = prefix.lower()
    return _BINARY[key] if key in _BINARY else _PREFIXES[key]


def _is_bits(word: str) -> bool:
    return word == "b" or word.lower() in {"bit", "bits"}


def _unit_problem(text: str, number: str, unit: str, what: str, units: list[str]) -> ValueError:
    near = difflib.get_close_matches(unit, units, n=1, cutoff=0.6)
    hint = f": did you mean `{number} {near[0]}`?" if near else ""
    examples = "" if near else f"; write for example {_EXAMPLES[what]}"
    return ValueError(f"`{text}`: `{unit}` is no unit of {what}{hint}{examples}")


def _digits(value: float) -> str:
    """Six significant digits, never in exponent form."""
    text = f"{value:.6g}"
    return f"{value:.0f}" if "e" in text else text


def _plain(value: float) -> str:
    """All the digits that the number has, never in exponent form."""
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def _percents(fraction: float) -> Iterable[str]:
    yield _digits(fraction * 100)
    yield from (_plain(round(fraction * 100, places)) for places in range(6, 17))


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    power = 0
    while value >= step and power < len(units) - 1:
        value /= step
        power += 1
    return f"{_digits(value)} {units[power]}"
