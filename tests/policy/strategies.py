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
        "active": st.sampled_from(
            [
                {"days": "mon-fri", "hours": "08:00-16:00", "tz": "Europe/Moscow"},
                {"days": ["sat", "sun"], "hours": ["22:00-06:00"], "tz": "America/New_York"},
                {"hours": "12:00-24:00"},
                {"from": "2021-03-10T10:00+03:00", "until": "2021-05-17T00:00Z"},
                {"after": "60 s", "for": "5 min"},
                [{"for": "10 s"}, {"after": "1 h"}],
            ]
        ),
    },
)  # fmt: skip

RATES = st.sampled_from(
    [
        "128 kbit/s",
        "1638.4 kbit/s",
        "7 B/s",
        "333.333 Kibit/s",
        {"limit": "2 Mbit/s", "per": "client"},
        ["1 Mbit/s", {"limit": "20 Mbit/s", "per": "rule"}, {"limit": "3 MB/s", "per": "host"}],
    ]
)
BURSTS = st.sampled_from(["16 KiB", "1 B", "100 MB", "12345 B"])
DELAYS = st.sampled_from(
    [
        "300 ms",
        "562.5 ms",
        "1 us",
        {"mean": "300 ms", "jitter": "80 ms"},
        {"mean": "1 s", "jitter": "333.3 ms", "distribution": "pareto"},
        {"percentiles": {"p50": "80 ms", "p95": "400 ms", "p99.9": "2 s"}},
        {"percentiles": {"p33.3": "80 ms"}},
    ]
)
HOLDERS = st.sampled_from(["shaper", "policer"])
BLOCKS = st.sampled_from([451, 503, "reset", "timeout"])
UPLOADS = st.fixed_dictionaries({"rate": RATES}, optional={"burst": BURSTS, "delay": DELAYS})
QUOTAS = st.fixed_dictionaries(
    {"free": st.sampled_from(["7 MB", "500 MiB", "1 B"])},
    optional={
        "per": st.sampled_from(["response", "connection", "client", "host", "rule"]),
        "every": st.sampled_from(["hour", "day", "week", "month", "90 min"]),
    },
)
STAGE = st.one_of(
    st.fixed_dictionaries({"rate": RATES}, optional={"burst": BURSTS, "as": HOLDERS}),
    st.fixed_dictionaries({"delay": DELAYS}, optional={"rate": RATES}),
    st.fixed_dictionaries({"block": BLOCKS}, optional={"delay": DELAYS}),
    st.just({"pass": True}),
)
LENGTHS = st.sampled_from(["60 s", "0.1 s", "1 ms", "3 h", "333.333 ms"])


def _stages(parts: list[dict[str, Any]], lengths: list[str], open_end: bool) -> list[Any]:
    staged = [{"for": length, **part} for part, length in zip(parts, lengths, strict=True)]
    if open_end and len(staged) > 1:
        del staged[-1]["for"]
    return staged


STAGES = st.integers(1, 4).flatmap(
    lambda count: st.builds(
        _stages,
        st.lists(STAGE, min_size=count, max_size=count),
        st.lists(LENGTHS, min_size=count, max_size=count),
        st.booleans(),
    )
)
_BODY = {
    "delay": DELAYS,
    "stall": st.fixed_dictionaries(
        {"after": st.sampled_from(["0 B", "256 KiB"]), "for": LENGTHS},
        optional={"every": st.sampled_from(["1 MiB", "1 B"])},
    ),
    "cut": st.fixed_dictionaries(
        {"after": st.sampled_from(["0 B", "512 KiB"])},
        optional={"how": st.sampled_from(["reset", "close"])},
    ),
    "requests": st.sampled_from(
        ["10 / min", "5/s", {"limit": "100 / hour", "per": "client"},
         ["3 / 10 s", {"limit": "1 / 333.3 ms", "per": "host"}]]
    ),
    "quota": QUOTAS,
    "upload": UPLOADS,
}  # fmt: skip
# Whatever goes together: an exception, a block and what may come before it, a body and its pace.
THENS = st.one_of(
    st.just({"pass": True}),
    st.fixed_dictionaries(
        {"block": BLOCKS}, optional={"delay": DELAYS, "quota": QUOTAS, "upload": UPLOADS}
    ),
    st.fixed_dictionaries(
        {"rate": RATES}, optional={"burst": BURSTS, "as": HOLDERS, "stages": STAGES, **_BODY}
    ),
    st.fixed_dictionaries(
        {"like": st.sampled_from(["wpt/3gslow", "firefox/good-3g", "devtools/slow-4g"])},
        optional={"rate": RATES, "burst": BURSTS, "as": HOLDERS, **_BODY},
    ),
    st.fixed_dictionaries(
        {"stages": STAGES},
        optional={"from": st.sampled_from(["policy", "response"]), "delay": DELAYS},
    ),
)


def whole(whens: list[dict[str, Any]], thens: list[dict[str, Any]], defaults: Any) -> Any:
    """The data of a policy, as a file would give it."""
    rules = [
        {"when": when, "then": then} if when else {"then": then}
        for when, then in zip(whens, thens, strict=False)
    ]
    return {
        "version": 1,
        "name": "random",
        "hosts": {"sites": [".a.com", "t.co"], "more": ["b.com", "*.x.a.com"]},
        "clients": {"inside": [{"address": ["10.0.0.0/8", "::1"]}, {"user": "v"}]},
        "rules": rules,
        **({"defaults": defaults} if defaults else {}),
    }


WHOLE = st.builds(
    whole,
    st.lists(WHENS, min_size=4, max_size=4),
    st.lists(THENS, min_size=1, max_size=4),
    st.sampled_from([None, {"per": "client"}, {"burst": "16 KiB"}]),
)


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
    first_bytes=st.sampled_from([None, b"", b"\xff\xd8\xff\xe0", b"#EXTM3U", b"hello"]),
    client_address=st.sampled_from([None, "10.0.0.1", "10.1.0.1", "::ffff:10.1.0.1", "192.0.2.1"]),
    user=st.sampled_from([None, "u", "v"]),
    websocket=st.booleans(),
    opaque=st.booleans(),
    time=st.sampled_from([0.0, 1.6e9, 1615363200.0, 1.7e9]) | st.floats(),
    elapsed_s=st.sampled_from([0.0, 5.0, 61.0, 1e5]) | st.floats(),
    serial=st.integers(0, 20),
)

UNFINISHED = st.builds(
    Exchange,
    host=st.just("a.com"),
    method=st.sampled_from(["GET", "POST"]),
    status=st.just(200),
    content_type=st.sampled_from([None, "image/jpeg", "video/mp4", "text/html"]),
    seen=st.integers(0, 350),
    first_bytes=st.sampled_from([None, b"\xff\xd8\xff\xe0", b"#EXTM3U", b"hello"]),
)
