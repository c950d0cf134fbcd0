"""The policies that come along, how they are found, and the JSON Schema of the file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from mitmthrottle.policy import (
    Decider,
    Exchange,
    Policy,
    PolicyError,
    Then,
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
    assert len(policy.description) <= 90  # it stands in a list


def rule(name: str, exchange: Exchange) -> str | None:
    decision = Decider(load_policy(find_policy(name))).decide(exchange)
    return decision.rule.name if decision.rule else None


def then(name: str, exchange: Exchange) -> Then:
    decision = Decider(load_policy(find_policy(name))).decide(exchange)
    assert decision.rule is not None
    return decision.rule.then


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


def test_as_measured() -> None:
    """By name, whatever the connection carries, policed, both ways."""
    for host in ("twitter.com", "api.twitter.com", "t.co", "pbs.twimg.com"):
        found = then("twitter-2021-measured", Exchange(host, opaque=True))
        assert found.as_ == "policer"
        assert found.upload is not None
        for (limit,) in (found.rate, found.upload.rate):
            assert 130e3 / 8 <= limit.limit_bytes_per_s <= 150e3 / 8
            assert limit.per == "connection"
    for host in ("microsoft.com", "reddit.com", "nottwitter.com", "www.t.co"):
        assert rule("twitter-2021-measured", Exchange(host, opaque=True)) is None


@pytest.mark.parametrize(
    ("day", "host", "headers", "slowed"),
    [
        (0, "reddit.com", DESKTOP, True),
        (0.99, "microsoft.com", DESKTOP, True),
        (1, "reddit.com", DESKTOP, False),
        (1, "t.co", DESKTOP, True),
        (22, "nottwitter.com", DESKTOP, True),
        (23, "nottwitter.com", DESKTOP, False),
        (23, "www.twitter.com", DESKTOP, True),
        (67, "pbs.twimg.com", DESKTOP, True),
        (68, "pbs.twimg.com", DESKTOP, False),
        (68, "pbs.twimg.com", PHONE, True),
        (700, "t.co", PHONE, True),
    ],
)
def test_the_timeline(day: float, host: str, headers: dict[str, str], slowed: bool) -> None:
    asked = Exchange(host, request_headers=headers, elapsed_s=day * 10)
    assert (rule("twitter-2021-timeline", asked) is not None) is slowed


def test_the_ladder_ends_in_a_ban() -> None:
    photo = {"status": 200, "content_type": "image/jpeg", "request_headers": PHONE}
    page = {"status": 200, "content_type": "text/html", "request_headers": PHONE}
    assert then("full-ban", Exchange("t.co", elapsed_s=119, **photo)).rate
    assert rule("full-ban", Exchange("t.co", elapsed_s=119, **page)) is None
    for facts in (photo, page):
        assert then("full-ban", Exchange("t.co", elapsed_s=120, **facts)).block == 451
    assert rule("full-ban", Exchange("example.com", elapsed_s=120, **page)) is None


def test_video_servers_of_2024() -> None:
    host = "rr1---sn-abc.googlevideo.com"
    (limit,) = then("youtube-2024", Exchange(host, request_headers=DESKTOP)).rate
    assert limit.limit_bytes_per_s == 16000
    assert then("youtube-2024", Exchange(host, request_headers=PHONE)).pass_


def test_operators_tiers() -> None:
    video = {"status": 200, "content_type": "video/mp4"}
    (limit,) = then("video-1.5mbit", Exchange("any.example", **video)).rate
    assert limit.limit_bytes_per_s == 187500
    late = then("delayed-throttling", Exchange("v.oca.nflxvideo.net", **video))
    assert late.quota is not None
    assert (late.quota.free_bytes, late.quota.per, late.quota.every) == (
        7_000_000, "connection", None
    )  # fmt: skip
    assert late.rate == (limit.model_copy(update={"per": "connection"}),)


def test_study_hours() -> None:
    stays = "text of what can be looked into stays as it is"

    def at(text: str, host: str = "www.youtube.com", kind: str = "video/mp4") -> str | None:
        time = datetime.fromisoformat(text).astimezone().timestamp()  # by this machine's clock
        return rule("study-hours", Exchange(host, status=200, content_type=kind, time=time))

    assert at("2021-03-10T10:00") == "distractions crawl on school days"
    assert at("2021-03-10T16:00") == stays
    assert at("2021-03-13T10:00") == stays
    assert at("2021-03-10T10:00", kind="text/html") == stays
    assert at("2021-03-10T10:00", "upload.wikimedia.org") == "lessons stay as they are"


def test_study_hours_of_apps_that_cannot_be_looked_into() -> None:
    def at(text: str, host: str) -> str | None:
        time = datetime.fromisoformat(text).astimezone().timestamp()
        return rule("study-hours", Exchange(host, opaque=True, time=time))

    crawl = "apps that cannot be looked into crawl on school days"
    assert at("2021-03-10T10:00", "rr1---sn-abc.googlevideo.com") == crawl
    assert at("2021-03-10T16:00", "rr1---sn-abc.googlevideo.com") is None
    assert at("2021-03-13T10:00", "rr1---sn-abc.googlevideo.com") is None
    assert at("2021-03-10T10:00", "cdn.khanacademy.org") == "lessons stay as they are"
    assert at("2021-03-10T10:00", "example.org") is None


def test_a_household() -> None:
    video = Exchange("v.example", status=200, content_type="video/mp4")
    found = then("household-fair-share", video)
    assert [(limit.limit_bytes_per_s, limit.per) for limit in found.rate] == [
        (1e6, "client"), (2.5e6, "rule")
    ]  # fmt: skip
    assert found.quota is not None
    assert (found.quota.per, found.quota.every) == ("client", "day")
    decider = Decider(load_policy(find_policy("household-fair-share")))
    photo = Exchange("v.example", method="POST", content_type="image/jpeg", size=10**7)
    upload = decider.decide_upload(photo).rule
    assert upload is not None
    assert upload.name == "uploads leave room for calls"


def test_a_cafe() -> None:
    decider = Decider(load_policy(find_policy("flaky-cafe")))
    found = [
        decider.decide(
            Exchange("a.com", status=200, content_type="image/png", size=10**6, serial=serial)
        ).rule
        for serial in range(2000)
    ]
    broken = sum(each is not None and each.then.cut is not None for each in found)
    assert 30 <= broken <= 95  # 3 %
    assert all(each is not None for each in found)


def test_first_minute_fast() -> None:
    found = then("first-minute-fast", Exchange("a.com", status=200, content_type="audio/mpeg"))
    assert found.from_ == "response"
    assert found.at(59.0)[0].pass_
    assert found.at(60.0)[0].describe() == "1 Mbit/s per response"


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
