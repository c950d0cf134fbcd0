"""Which bytes a Range header asks for."""

import pytest

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.ranges import Unsatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-99", (0, 100)),
        ("bytes=900-", (900, 1000)),
        ("bytes=-1", (999, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=990-5000", (990, 1000)),
        ("BYTES=0-0", (0, 1)),
        # What is no single range is answered with the whole.
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=9-3", None),
        ("lines=0-3", None),
        ("bytes=a-b", None),
    ],
)
def test_part(header: str | None, part: tuple[int, int] | None) -> None:
    assert parse_range(header, 1000) == part


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=4000-5000", "bytes=-0"])
def test_no_such_bytes(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, 1000)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (65_535, 65_537), (131_072, 200_000)])
def test_noise_is_the_same_in_any_range(start: int, stop: int) -> None:
    assert noise(start, stop) == noise(0, 300_000)[start:stop]
