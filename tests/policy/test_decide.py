"""Which rule applies: every condition, the order of rules, and what has to be waited for."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from mitmthrottle.policy import Decider, Exchange, Policy, RateLimit, parse_policy
from mitmthrottle.policy.conditions.client import ClientMatch

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1"
)


def decider(*rules: dict[str, Any], **top: Any) -> Decider:
    """A policy whose rules slow, unless they say what else they do."""
    full = [{"then": {"rate": "128 kbit/s"}, **rule} for rule in rules]
    return Decider(Policy.model_validate({"version": 1, "name": "test", "rules": full, **top}))


def exchange(host: str = "a.com", **facts: Any) -> Exchange:
    return Exchange(host, **{"status": 200, "content_type": "image/jpeg", **facts})


# condition, facts that meet it, facts that do not
CONDITIONS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"host": ".a.com"}, {"host": "www.A.com."}, {"host": "b.com"}),
    ({"host": ["b.com", "~^a"]}, {"host": "a.org"}, {"host": "x.b.com"}),
    ({"path": "/photos/*"}, {"path": "/photos/1/x.jpg?y"}, {"path": "/PHOTOS/1"}),
    ({"path": "/a?c"}, {"path": "/abc"}, {"path": "/abbc"}),
    ({"path": "~\\.jpe?g$"}, {"path": "/x.jpg"}, {"path": "/x.jpg?y"}),
    ({"path": ["/a", "/b.c"]}, {"path": "/b.c"}, {"path": "/bxc"}),
    ({"method": ["get", "head"]}, {"method": "GET"}, {"method": "POST"}),
    ({"scheme": "https"}, {"scheme": "https"}, {"scheme": "http"}),
    ({"port": [80, 443]}, {"port": 443}, {"port": 8443}),
    ({"status": 200}, {"status": 200}, {"status": 206}),
    ({"status": ["5xx", "400-404"]}, {"status": 503}, {"status": 405}),
    ({"status": 200}, {"status": 200}, {"status": None}),
    ({"content": "photo"}, {"content_type": "image/png"}, {"content_type": "image/svg+xml"}),
    ({"content": ["video", "audio"]}, {"content_type": "audio/mpeg"}, {}),
    ({"content": "image/*"}, {"content_type": "image/svg+xml"}, {"content_type": "video/mp4"}),
    ({"content": "application/json"}, {"content_type": "Application/JSON; x"}, {}),
    ({"content": "websocket"}, {"websocket": True}, {"content_type": "video/mp4"}),
    ({"content": "photo"}, {}, {"websocket": True}),
    ({"content": "photo"}, {}, {"opaque": True}),
    ({"size": ">= 100 KiB"}, {"size": 102400}, {"size": 102399}),
    ({"size": "> 100 KiB"}, {"size": 102401}, {"size": 102400}),
    ({"size": "< 2 MB"}, {"size": 1999999}, {"size": 2000000}),
    ({"size": "<= 2 MB"}, {"size": 2000000}, {"size": 2000001}),
    ({"size": "= 5 B"}, {"size": 5}, {"size": 6}),
    ({"size": ">= 1 KiB, < 2 KiB"}, {"size": 1024}, {"size": 2048}),
    ({"size": ["< 1 KiB", "> 2 KiB"]}, {"size": 3000}, {"size": 1500}),
    ({"size": ">= 10 B"}, {"seen": 10, "complete": True}, {"seen": 9, "complete": True}),
    ({"client": {"address": "10.0.0.0/8"}}, {"client_address": "::ffff:10.0.0.1"}, {}),
    ({"client": {"device": "mobile"}}, {"request_headers": {"user-agent": PHONE}}, {}),
    ({"client": {"user_agent": "*iphone*"}}, {"request_headers": {"user-agent": PHONE}}, {}),
    ({"client": {"user": "alice"}}, {"user": "alice"}, {"user": "Alice"}),
    ({"client": [{"user": "a"}, {"address": "::1"}]}, {"client_address": "::1"}, {"user": "b"}),
    ({"header": {"Q": "1"}}, {"request_headers": {"q": "1"}}, {"request_headers": {"q": "0"}}),
    ({"header": {"x": "*"}}, {"request_headers": {"x": ""}}, {}),
    ({"header": {"a": "~B", "c": "D*"}}, {"request_headers": {"a": "abc", "c": "d"}},
     {"request_headers": {"a": "abc"}}),
    ({"header": {"a": "b"}}, {"request_headers": {"a": "b"}},
     {"request_headers": {"a": "b"}, "opaque": True}),
    ({"share": "100%"}, {"client_address": "10.0.0.1"}, {"host": "never"}),
]  # fmt: skip


@pytest.mark.parametrize(("when", "meets", "fails"), CONDITIONS)
def test_conditions(when: dict[str, Any], meets: dict[str, Any], fails: dict[str, Any]) -> None:
    asked = decider({"name": "r", "when": {"host": ["~^(?!never)"], **when}})
    holds, fails_too = exchange(**meets), exchange(**fails)
    decision = asked.decide(holds)
    assert decision.rule is not None
    assert decision.rule.name == "r"
    assert asked.explain(holds).rule == decision.rule
    assert asked.decide(fails_too).rule is None
    (why,) = asked.explain(fails_too).why_not
    key = "host" if fails.get("host") == "never" else next(iter(when))
    assert (why.rule, why.condition) == ("r", key)
    assert why.reason


def test_no_conditions_match_everything() -> None:
    assert decider({}).decide(exchange("anything", opaque=True)).rule is not None


def test_the_first_matching_rule_wins_and_order_is_told() -> None:
    asked = decider(
        {"name": "video", "when": {"host": ".a.com", "content": "video"}},
        {"name": "mine", "when": {"host": "my.a.com"}, "then": {"pass": True}},
        {"name": "all", "when": {"host": ".a.com"}},
    )
    told = asked.explain(exchange("my.a.com"))
    assert told.rule is not None
    assert told.rule.name == "mine"
    assert told.kind == "photo"
    assert [(why.rule, why.condition) for why in told.why_not] == [
        ("video", "content"),
        ("all", "order"),
    ]
    assert told.why_not[1].reason == "rule `mine` matched first"


def test_the_first_condition_in_documented_order_is_told() -> None:
    asked = decider({"when": {"share": "0%", "header": {"x": "y"}, "method": "POST", "path": "/z"}})
    assert asked.explain(exchange()).why_not[0].condition == "path"


def test_opaque_payload_knows_host_port_address_and_share_only() -> None:
    hidden = exchange(opaque=True, client_address="10.0.0.1")
    known = {"host": ".a.com", "port": 443, "scheme": "https", "share": "100%",
             "client": {"address": "10.0.0.0/8"}}  # fmt: skip
    assert decider({"when": known}).decide(hidden).rule is not None
    for when in ({"path": "*"}, {"method": "GET"}, {"status": 200}, {"content": "image/*"},
                 {"size": "< 1 MB"}, {"header": {"x": "*"}},
                 {"client": {"device": "mobile"}}):  # fmt: skip
        told = decider({"when": when}).explain(hidden)
        assert told.rule is None
        assert "encrypted" in told.why_not[0].reason


class TestFirstBytes:
    media: dict[str, Any] = {"name": "media", "when": {"host": ".a.com", "content": ["photo"]}}  # noqa: RUF012

    def test_wait_until_they_are_seen(self) -> None:
        asked = decider(self.media, {"name": "rest"})
        unknown = exchange(content_type=None)
        assert asked.decide(unknown).needs_first_bytes
        assert asked.decide(unknown).rule is None
        assert asked.explain(unknown).why_not[0].condition == "content"
        jpeg = exchange(content_type=None, first_bytes=b"\xff\xd8\xff\xe0")
        text = exchange(content_type=None, first_bytes=b"hello world")
        assert [asked.decide(x).rule.name for x in (jpeg, text)] == ["media", "rest"]

    def test_not_when_an_earlier_rule_matched(self) -> None:
        asked = decider({"name": "first", "when": {"path": "/*"}}, self.media)
        decision = asked.decide(exchange(content_type=None))
        assert decision.rule is not None
        assert not decision.needs_first_bytes

    def test_not_when_another_condition_fails_already(self) -> None:
        rule = {"when": {"content": ["photo"], "method": "POST"}}
        assert not decider(rule).decide(exchange(content_type=None)).needs_first_bytes

    @pytest.mark.parametrize(
        "facts",
        [
            {"method": "HEAD"},
            {"status": 304},
            {"status": 204},
            {"size": 0},
            {"complete": True},
            {"opaque": True},
            {"websocket": True},
        ],
    )
    def test_not_where_no_bytes_will_come(self, facts: dict[str, Any]) -> None:
        decision = decider(self.media).decide(exchange(content_type=None, **facts))
        assert not decision.needs_first_bytes

    def test_a_glob_never_waits(self) -> None:
        rule = {"when": {"content": "application/octet-stream"}}
        asked = decider(rule)
        assert asked.decide(exchange(content_type="application/octet-stream")).rule is not None
        assert asked.decide(exchange(content_type=None)) == asked.decide(exchange("a.com"))


class TestUnknownSize:
    def test_asks_again_at_the_least_size_that_decides(self) -> None:
        asked = decider(
            {"name": "huge", "when": {"size": "> 1 MiB"}},
            {"name": "large", "when": {"size": ">= 100 KiB"}},
            {"name": "video", "when": {"content": "video", "size": ">= 1 KiB"}},
        )
        assert asked.decide(exchange()).size_step == 102400
        assert asked.decide(exchange(seen=102399)).size_step == 102400
        at_100k = asked.decide(exchange(seen=102400))
        assert at_100k.rule is not None
        assert (at_100k.rule.name, at_100k.size_step) == ("large", None)

    def test_declared_size_needs_no_step(self) -> None:
        asked = decider({"when": {"size": ">= 100 KiB"}})
        assert asked.decide(exchange(size=5)).size_step is None
        assert asked.decide(exchange(size=5)).rule is None

    def test_an_upper_limit_is_decided_at_the_end_only(self) -> None:
        asked = decider({"when": {"size": "< 2 MB"}})
        assert asked.decide(exchange(seen=5)).size_step is None
        assert asked.decide(exchange(seen=5)).rule is None
        assert asked.decide(exchange(seen=5, complete=True)).rule is not None

    def test_a_later_rule_that_matches_now_wins(self) -> None:
        asked = decider({"when": {"size": ">= 100 KiB"}}, {"name": "now", "when": {"path": "/"}})
        decision = asked.decide(exchange())
        assert decision.rule is not None
        assert (decision.rule.name, decision.size_step) == ("now", None)

    def test_it_is_told(self) -> None:
        (why,) = decider({"when": {"size": ">= 100 KiB"}}).explain(exchange(seen=10)).why_not
        assert why.condition == "size"
        assert why.reason == "size is not known: 10 B seen so far, asked for `>= 100 KiB`"


class TestRequests:
    blocked: dict[str, Any] = {"name": "b", "when": {"host": ".a.com"}, "then": {"block": 451}}  # noqa: RUF012

    def rule(self, *rules: dict[str, Any], **facts: Any) -> str | None:
        decision = decider(*rules).decide_request(Exchange("a.com", **facts))
        return decision.rule.name if decision.rule else None

    def test_a_rule_of_the_request_alone(self) -> None:
        assert self.rule(self.blocked) == "b"

    @pytest.mark.parametrize(
        "when",
        [
            {"content": "photo"},
            {"status": 200},
            {"size": ">= 1 MB"},
            {"share": {"of": "responses", "percent": 10}},
        ],
    )
    def test_the_response_may_still_choose_an_earlier_one(self, when: dict[str, Any]) -> None:
        assert self.rule({"when": when}, self.blocked) is None
        assert self.rule({"when": {"method": "POST", **when}}, self.blocked) == "b"
        assert self.rule({**self.blocked, "when": {**when}}) is None

    def test_other_hosts(self) -> None:
        asked = decider(self.blocked)
        assert asked.decide_request(Exchange("b.com")).rule is None
        assert not asked.might_match_host("b.com")
        assert asked.might_match_host("www.a.com")


def test_groups_and_their_names_in_reasons() -> None:
    asked = decider(
        {"when": {"host": ["sites", ".c.com"], "client": "phones"}},
        hosts={"sites": ["a.com", ".b.com"]},
        clients={"phones": [{"device": "mobile"}, {"user": "phone"}]},
    )
    assert asked.decide(exchange("x.b.com", user="phone")).rule is not None
    assert asked.explain(exchange("a.com")).why_not[0].reason == (
        "the client is not `phones`: its device is unknown, its proxy user is unknown"
    )
    assert asked.explain(exchange("d.com")).why_not[0].reason == (
        "host `d.com` is not `sites` or `.c.com`"
    )


def test_defaults_fill_what_rules_leave_open() -> None:
    policy = parse_policy(
        "version: 1\nname: d\ndefaults: {burst: 16 KiB, per: client}\nrules:\n"
        "  - when: {host: .a.com}\n    then: {rate: [1 Mbit/s, {limit: 2 Mbit/s, per: host}]}\n"
        "  - when: {host: .b.com}\n    then: {rate: 1 Mbit/s, burst: 1 KiB}\n"
        "  - then: {delay: 300 ms}\n"
    )
    said = [rule.then.describe() for rule in policy.rules]
    assert said == [
        "1 Mbit/s per client, 2 Mbit/s per host, burst 16 KiB",
        "1 Mbit/s per client, burst 1 KiB",
        "delay 300 ms",
    ]


def test_a_policy_made_in_python_takes_si_units_and_must_make_sense() -> None:
    policy = Policy.model_validate(
        {"version": 1, "name": "p", "rules": [{"then": {"rate": {"limit_bytes_per_s": 16000.0}}}]}
    )
    assert policy.rules[0].then.rate[0].limit_bytes_per_s == 16000.0
    assert RateLimit(limit_bytes_per_s=125e9, per="client").describe() == "1000 Gbit/s per client"
    inside = ClientMatch(address=(ip_network("10.0.0.0/8"),))
    assert decider({"when": {"client": inside}}).decide(exchange(client_address="10.1.1.1")).rule
    with pytest.raises(ValueError, match="no group of `hosts` is named `x`"):
        decider({"when": {"host": "x"}})
    with pytest.raises(ValueError, match="two rules are named `a`"):
        decider({"name": "a"}, {"name": "a", "when": {"host": ".b.com"}})
