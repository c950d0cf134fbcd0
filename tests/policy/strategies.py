"""Random policies and exchanges from few words, so that they meet often."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mitmthrottle.policy import Exchange, Policy

HOSTS = ["a.com", "x.a.com", "y.x.a.com", "b.com", "t.co", "microsoft.com"]


def some[T](items: list[T]) -> st.SearchStrategy[list[T]]:
    return st.lists(st.sampled_from(items), min_size=1, max_size=3, unique=True)


WHENS = st.fixed_dictionaries(
    {},
    optional={
        "host": some(
            ["a.com", ".a.com", "*.a.com", ".x.a.com", "~t\\.co", ".b.com", "sites", "more"]
        ),
        "path": some(["/", "/a*", "/ab", "*", "~b$", "/a.jpg"]),
        "method": some(["GET", "POST"]),
        "scheme": some(["http", "https"]),
        "port": some([80, 443]),
        "status": some([200, "2xx", "400-404", 404]),
        "content": some(
            ["photo", "video", "audio", "websocket", "image/*", "image/jpeg", "text/html"]
        ),
        "size": st.sampled_from(
            [">= 100 B", "> 50 B", "< 200 B", "= 100 B", ">= 50 B, < 150 B", ["< 60 B", "> 90 B"]]
        ),
        "client": st.sampled_from(
            [
                "inside",
                {"address": "10.0.0.0/8"},
                {"address": "10.1.0.0/16"},
                {"user": "u"},
                {"address": "10.0.0.0/8", "user_agent": "curl*"},
                [{"user": "u"}, {"user_agent": "~CURL"}],
            ]
        ),
        "header": st.sampled_from([{"x": "*"}, {"x": "1"}, {"x": "1", "y": "*"}, {"x": ["1"]}]),
        "share": st.sampled_from(
            ["50%", "10%", "100%", "0%", {"of": "responses", "percent": 50}]
        ),
    },
)  # fmt: skip


def _policy(whens: list[dict[str, Any]]) -> Policy:
    return Policy.model_validate(
        {
            "version": 1,
            "name": "random",
            "hosts": {"sites": [".a.com", "t.co"], "more": ["b.com", "*.x.a.com"]},
            "clients": {"inside": [{"address": ["10.0.0.0/8", "::1"]}, {"user": "v"}]},
            "rules": [{"when": when, "then": {"rate": "1 Mbit/s"}} for when in whens],
        }
    )


# Conditions that only the body decides, for what has to be waited for.
BODY_WHENS = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from([">= 100 B", "> 50 B", "< 200 B", ["= 10 B", ">= 300 B"]]),
        "content": some(["photo", "video", "image/*"]),
        "method": some(["GET", "POST"]),
    },
)
POLICIES = st.lists(WHENS, min_size=1, max_size=8).map(_policy)
BODY_POLICIES = st.lists(BODY_WHENS.filter(bool), min_size=1, max_size=4).map(_policy)

EXCHANGES = st.builds(
    Exchange,
    host=st.sampled_from(HOSTS),
    path=st.sampled_from(["/", "/a", "/ab", "/a.jpg", "/b"]),
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    scheme=st.sampled_from(["http", "https"]),
    port=st.sampled_from([80, 443, 8080]),
    status=st.sampled_from([None, 200, 204, 404]),
    request_headers=st.sampled_from(
        [{}, {"x": "1"}, {"x": "2", "y": ""}, {"user-agent": "curl/8"}, {"sec-fetch-dest": "image"}]
    ),
    content_type=st.sampled_from(
        [None, "image/jpeg", "image/svg+xml", "video/mp4", "text/html", "text/plain", "audio/ogg"]
    ),
    size=st.sampled_from([None, 0, 50, 100, 1000]),
    seen=st.sampled_from([0, 55, 100, 1000]),
    complete=st.booleans(),
    head=st.sampled_from([None, b"", b"\xff\xd8\xff\xe0", b"#EXTM3U", b"hello"]),
    client_address=st.sampled_from([None, "10.0.0.1", "10.1.0.1", "::ffff:10.1.0.1", "192.0.2.1"]),
    user=st.sampled_from([None, "u", "v"]),
    websocket=st.booleans(),
    opaque=st.booleans(),
    serial=st.integers(0, 20),
)

UNFINISHED = st.builds(
    Exchange,
    host=st.just("a.com"),
    method=st.sampled_from(["GET", "POST"]),
    status=st.just(200),
    content_type=st.sampled_from([None, "image/jpeg", "video/mp4", "text/html"]),
    seen=st.integers(0, 350),
    head=st.sampled_from([None, b"\xff\xd8\xff\xe0", b"#EXTM3U", b"hello"]),
)
