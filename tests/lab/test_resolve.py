"""Which address a name is sent to."""

import pytest

from mitmthrottle.lab.resolve import Routes

ROUTES = Routes(
    [
        "twitter.com=127.0.0.1:1",
        "twitter.com:80=127.0.0.1:2",
        "*:80=127.0.0.1:3",
        "Upper.example=127.0.0.1:4",
    ]
)


@pytest.mark.parametrize(
    ("host", "port", "target"),
    [
        ("twitter.com", 443, 1),
        ("twitter.com", 80, 2),
        ("TWITTER.com.", 443, 1),
        ("other.example", 80, 3),
        ("upper.example", 443, 4),
        ("other.example", 443, None),
        ("sub.twitter.com", 443, None),
    ],
)
def test_the_most_exact_route_wins(host: str, port: int, target: int | None) -> None:
    assert ROUTES.find(host, port) == (("127.0.0.1", target) if target else None)


@pytest.mark.parametrize("text", ["", "a", "a=b", "a=b:c", "=127.0.0.1:1", "a:b=c:1", "a=:1"])
def test_what_is_no_route(text: str) -> None:
    with pytest.raises(ValueError, match="for example twitter"):
        Routes([text])
