"""The policies that come along, how they are found, and the JSON Schema of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mitmthrottle.policy import (
    Decider,
    Exchange,
    Policy,
    PolicyError,
    find_policy,
    load_policy,
    shipped_policies,
)

PHONE = {"user-agent": "Mozilla/5.0 (Android 14; Mobile; rv:125.0) Gecko/125.0 Firefox/125.0"}
DESKTOP = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"}


@pytest.mark.parametrize("path", shipped_policies(), ids=lambda path: path.stem)
def test_each_loads_under_its_name_and_names_its_sources(path: Path) -> None:
    policy = load_policy(path)
    assert policy.name == path.stem
    assert policy.sources
    assert policy.description


def rule(name: str, exchange: Exchange) -> str | None:
    decision = Decider(load_policy(find_policy(name))).decide(exchange)
    return decision.rule.name if decision.rule else None


def test_as_announced() -> None:
    photo = {"status": 200, "content_type": "image/jpeg"}
    for host in ("twitter.com", "pbs.twimg.com", "t.co", "www.twitter.com"):
        said = rule("twitter-2021", Exchange(host, request_headers=PHONE, **photo))
        assert said == "photos and videos on every phone"
    assert rule("twitter-2021", Exchange("microsoft.com", request_headers=PHONE, **photo)) is None
    html = Exchange("twitter.com", status=200, content_type="text/html", request_headers=PHONE)
    assert rule("twitter-2021", html) is None
    slowed = [
        rule(
            "twitter-2021",
            Exchange("t.co", client_address=f"10.0.0.{n}", request_headers=DESKTOP, **photo),
        )
        for n in range(100)
    ]
    assert 35 <= sum(name is not None for name in slowed) <= 65


def test_the_accident() -> None:
    for host in ("microsoft.com", "reddit.com", "t.co", "pbs.twimg.com", "nottwitter.com"):
        assert rule("twitter-2021-collateral", Exchange(host, opaque=True)) is not None
    for host in ("twitter.com.example", "twimg.com", "example.com"):
        assert rule("twitter-2021-collateral", Exchange(host, opaque=True)) is None


def test_an_everyday_link() -> None:
    video = Exchange("v.example", status=200, content_type="video/mp4", size=10**7)
    small = Exchange("v.example", status=200, content_type="image/png", size=1000)
    at_home = Exchange("nas.local", status=200, content_type="video/mp4", size=10**7)
    assert rule("metered-link", video) == "large media share 2 Mbit/s"
    assert rule("metered-link", small) is None
    assert rule("metered-link", at_home) == "nothing at home is metered"


def test_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_policy("twitter-2021").name == "twitter-2021.yaml"
    assert find_policy("twitter-2021.yaml") == Path("twitter-2021.yaml")
    assert find_policy("some/where") == Path("some/where")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("")
    assert find_policy("mine") == Path("mine")
    with pytest.raises(PolicyError, match="did you mean `twitter-2021`"):
        find_policy("twiter-2021")
    with pytest.raises(PolicyError, match="give a path, or one of `delayed-throttling`, "):
        find_policy("zzz")


def test_the_schema_describes_the_file() -> None:
    schema = Policy.json_schema()
    assert set(schema["properties"]) == {
        "version", "name", "description", "sources", "seed", "defaults", "hosts", "clients", "rules"
    }  # fmt: skip
    assert schema["required"] == ["version", "name", "rules"]
    then = schema["$defs"]["Then"]["properties"]
    assert set(then) == {
        "like", "rate", "burst", "as", "delay", "stall", "cut", "block", "requests", "quota",
        "stages", "trace", "from", "upload", "pass",
    }  # fmt: skip
    assert "limit" in schema["$defs"]["RateLimit"]["properties"]
    when = schema["$defs"]["When"]["properties"]
    assert {"host", "path", "content", "size", "client", "header", "share", "active"} <= set(when)
