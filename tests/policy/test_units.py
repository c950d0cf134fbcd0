"""Units: what people write, what it means, and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.policy.language import units

RATES = [
    ("128 kbit/s", 16000.0),
    ("128kbit/s", 16000.0),
    ("  128   kbit/s ", 16000.0),
    ("128 kbps", 16000.0),
    ("128 Kbps", 16000.0),
    ("128 Kbit/s", 16000.0),
    ("128 kb/s", 16000.0),
    ("1.5 Mbit/s", 187500.0),
    ("1.5 Mbps", 187500.0),
    ("1.5 mbps", 187500.0),
    (".5 Mbit/s", 62500.0),
    ("1 Gbit/s", 125e6),
    ("1 gbps", 125e6),
    ("16 kB/s", 16000.0),
    ("16 KB/s", 16000.0),
    ("16 kBps", 16000.0),
    ("2 MB/s", 2e6),
    ("64 KiB/s", 65536.0),
    ("1 MiB/s", 1048576.0),
    ("1 Kibit/s", 128.0),
    ("1 Mib/s", 131072.0),
    ("800 bit/s", 100.0),
    ("800 b/s", 100.0),
    ("800 bps", 100.0),
    ("100 B/s", 100.0),
    ("100 bytes/s", 100.0),
    ("8 kbits/sec", 1000.0),
]


@pytest.mark.parametrize(("text", "rate_bytes_per_s"), RATES)
def test_rates(text: str, rate_bytes_per_s: float) -> None:
    assert units.parse_rate(text) == pytest.approx(rate_bytes_per_s)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("128", "did you mean `128 kbit/s` or `128 kB/s`?"),
        ("5 M", "did you mean `5 Mbit/s` or `5 MB/s`?"),
        ("128 kbit", "did you mean `128 kbit/s`?"),
        ("128 KiB", "did you mean `128 KiB/s`?"),
        ("128 furlongs", "write for example `128 kbit/s`"),
        ("128 kbot/s", "did you mean `128 kbit/s`?"),
        ("0 bit/s", "must be more than zero"),
        ("-5 kbit/s", "must be more than zero"),
        ("1 bit/s", "from `8 bit/s`"),
        ("9999 Tbit/s", "to `1000 Gbit/s`"),
        ("nan kbit/s", "a number and a unit"),
        ("inf bit/s", "a number and a unit"),
        ("1e3 kbit/s", "did you mean `1000 kbit/s`?"),
        ("256_000 bit/s", "did you mean `256000 bit/s`?"),
        ("2.56e5 bit/s", "did you mean `256000 bit/s`?"),
        ("256e-1 kbit/s", "did you mean `25.6 kbit/s`?"),
        ("256 000 bit/s", "did you mean `256000 bit/s`?"),
        ("256\u202f000 bit/s", "did you mean `256000 bit/s`?"),
        ("1'500'000 bit/s", "did you mean `1500000 bit/s`?"),
        ("256,000 bit/s", "`256000 bit/s` or, with a decimal point, `256.000 bit/s`?"),
        ("1,234,567 B/s", "did you mean `1234567 B/s`?"),
        ("1_000", "did you mean `1000 kbit/s`?"),
        ("1e400 bit/s", "surely a slip"),
        ("1,5 Mbit/s", "`1.5 Mbit/s`"),
        ("", "a number and a unit"),
        ("9" * 400 + " kbit/s", "that many digits"),
    ],
)
def test_what_is_no_rate_and_what_would_be(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        units.parse_rate(text)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("64 KiB", 65536), ("64 kB", 64000), ("2 MB", 2_000_000), ("1.5 MiB", 1572864),
     ("512 B", 512), ("512 bytes", 512), ("0 B", 0), ("1 GiB", 2**30), ("1 TB", 10**12)],
)  # fmt: skip
def test_sizes(text: str, size_bytes: int) -> None:
    assert units.parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("64", "`64 KiB` or `64 kB`"), ("64 M", "`64 MiB` or `64 MB`"), ("64 Kib", "`64 KiB`"),
     ("64 kbit", "`64 kB`"), ("-1 B", "negative"), ("9999 TiB", "`1024 TiB`"),
     ("3 apples", "for example `64 KiB`")],
)  # fmt: skip
def test_what_is_no_size(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        units.parse_size(text)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300 ms", 0.3), ("2 s", 2.0), ("10 min", 600.0), ("1 h", 3600.0), ("1 d", 86400.0),
     ("50 us", 5e-5), ("50 µs", 5e-5), ("0 s", 0.0), ("1.5s", 1.5)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("300", "`300 ms` or `300 s`"), ("10 m", "`10 min`"), ("2 seconds", "`2 s`"),
     ("300 MS", "`300 ms`"), ("-1 s", "negative"), ("400 d", "`366 d`"), ("3 moons", "`300 ms`")],
)  # fmt: skip
def test_what_is_no_duration(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        units.parse_duration(text)
    assert remedy in str(caught.value)


def test_shares() -> None:
    assert units.parse_share("50%") == 0.5
    assert units.parse_share("12.5 %") == 0.125
    assert (units.parse_share("0%"), units.parse_share("100%")) == (0, 1)
    for text, remedy in [("50", "`50%`"), ("0.5", "`50%`"), ("101%", "`100%`"), ("-1%", "`0%`")]:
        with pytest.raises(ValueError, match=remedy):
            units.parse_share(text)


@pytest.mark.parametrize(
    ("rate_bytes_per_s", "text"),
    [(16000.0, "128 kbit/s"), (187500.0, "1.5 Mbit/s"), (125e6, "1 Gbit/s"), (1.0, "8 bit/s"),
     (65536.0, "524.288 kbit/s"), (125e9, "1000 Gbit/s")],
)  # fmt: skip
def test_rates_are_shown_in_bits(rate_bytes_per_s: float, text: str) -> None:
    assert units.format_rate(rate_bytes_per_s) == text


def test_sizes_and_durations_are_shown_as_people_write_them() -> None:
    assert [units.format_size(n) for n in (0, 512, 65536, 2_000_000, 102400)] == [
        "0 B", "512 B", "64 KiB", "2 MB", "100 KiB"]  # fmt: skip
    assert [units.format_duration(s) for s in (0, 0.3, 2, 90, 600, 3600, 5e-5)] == [
        "0 s", "300 ms", "2 s", "90 s", "10 min", "1 h", "50 us"]  # fmt: skip
    assert units.format_share(0.125) == "12.5%"


@given(st.floats(units.LOWEST_RATE_BYTES_PER_S, units.HIGHEST_RATE_BYTES_PER_S))
def test_a_rate_survives_being_shown(rate: float) -> None:
    assert math.isclose(units.parse_rate(units.format_rate(rate)), rate, rel_tol=1e-5)


@given(st.integers(0, units.HIGHEST_SIZE_BYTES))
def test_a_size_survives_being_shown(size: int) -> None:
    assert math.isclose(units.parse_size(units.format_size(size)), size, rel_tol=1e-5)


@given(st.floats(1e-6, units.LONGEST_DURATION_S))
def test_a_duration_survives_being_shown(seconds: float) -> None:
    shown = units.format_duration(seconds)
    # a nanosecond: durations are rounded to that
    assert math.isclose(units.parse_duration(shown), seconds, rel_tol=1e-5, abs_tol=1e-9)


@given(st.integers(10, 900), st.sampled_from(["k", "M"]), st.sampled_from(["", "i"]))
def test_a_byte_is_eight_bits_whatever_the_prefix(number: int, prefix: str, binary: str) -> None:
    as_bytes = units.parse_rate(f"{number} {prefix}{binary}B/s")
    assert as_bytes == 8 * units.parse_rate(f"{number} {prefix}{binary}b/s")


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (units.parse_rate, units.parse_size, units.parse_duration, units.parse_share):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value >= 0
        assert math.isfinite(value)


def test_the_number_is_kept_for_other_quantities_too() -> None:
    for parse, text, right in (
        (units.parse_size, "1_048_576 B", "`1048576 B`"),
        (units.parse_duration, "3e2 ms", "`300 ms`"),
        (units.parse_share, "1_0%", "`10%`"),
        (units.parse_share, "5e1", "`50%`"),
    ):
        with pytest.raises(ValueError, match="plain digits") as caught:
            parse(text)
        assert f"did you mean {right}?" in str(caught.value)
