from __future__ import annotations

import pytest

from mitmthrottle.lab.resolve import Routes
from mitmthrottle.resolve import endpoint_of, parse_resolve


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("a.example=127.0.0.1:8443", ("a.example", ("127.0.0.1", 8443))),
        ("A.example:80=127.0.0.1", ("a.example:80", ("127.0.0.1", 80))),
        ("a.example:80=127.0.0.1:8080", ("a.example:80", ("127.0.0.1", 8080))),
        ("*=[::1]:8443", ("*", ("::1", 8443))),
        ("a.example:443=::1", ("a.example:443", ("::1", 443))),
        ("a.example:443:198.18.0.1", ("a.example:443", ("198.18.0.1", 443))),  # as curl has it
        ("a.example:443:[::1]", ("a.example:443", ("::1", 443))),
    ],
)
def test_a_route(text: str, route: tuple[str, tuple[str, int]]) -> None:
    assert parse_resolve(text) == route


@pytest.mark.parametrize(
    "text",
    ["", "a.b", "a.b=", "=127.0.0.1:80", "a.b=127.0.0.1", "a.b=nowhere:80", "a.b=127.0.0.1:0",
     "a.b=127.0.0.1:70000", "a.b:x=127.0.0.1:80", "a.b=127.0.0.1:", "a.b=[::1:80", "a.b:443:"],
)  # fmt: skip
def test_no_route(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST"):
        parse_resolve(text)


def test_the_most_exact_route_wins() -> None:
    routes = dict(
        parse_resolve(text)
        for text in ("*=127.0.0.1:1", "*:80=127.0.0.1:2", "a.b=127.0.0.1:3", "a.b:80=127.0.0.1:4")
    )
    found = [endpoint_of(routes, *to) for to in (("A.b.", 80), ("a.b", 1), ("c", 80), ("c", 1))]
    assert found == [("127.0.0.1", port) for port in (4, 3, 2, 1)]
    assert endpoint_of({}, "a.b", 80) is None
    # The lab's proxy takes the same as its option.
    lines = [f"{name}={address}:{port}" for name, (address, port) in routes.items()]
    assert Routes(lines).find("a.b", 80) == endpoint_of(routes, "a.b", 80)
