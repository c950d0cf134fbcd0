"""Stalls, cuts, starts, uploads and defaults: the fields that whoever paces relies on."""

from __future__ import annotations

import pytest

from mitmthrottle.policy import (
    Decider,
    Exchange,
    Per,
    RequestLimit,
    Then,
    parse_policy,
)
from mitmthrottle.policy.effects.requests import StartRate


def then_of(text: str, more: str = "") -> Then:
    head = f"version: 1\nname: x\n{more}rules:\n"
    return parse_policy(f"{head}  - then: {text}\n").rules[0].then


def test_a_stall() -> None:
    stall = then_of("{stall: {after: 256 KiB, for: 10 s, every: 1 MiB}}").stall
    assert stall is not None
    assert (stall.after_bytes, stall.for_s, stall.every_bytes) == (262144, 10.0, 1048576)
    once = then_of("{stall: {after: 0 B, for: 300 ms}}").stall
    assert once is not None
    assert (once.after_bytes, once.for_s, once.every_bytes) == (0, 0.3, None)


def test_a_cut() -> None:
    cut = then_of("{cut: {after: 512 KiB}}").cut
    assert cut is not None
    assert (cut.after_bytes, cut.how) == (524288, "reset")
    assert then_of("{cut: {after: 0 B, how: close}}").cut != cut


def test_a_policer() -> None:
    assert then_of("{rate: 1 Mbit/s}").as_ == "shaper"
    assert then_of("{rate: 1 Mbit/s, as: policer}").as_ == "policer"


@pytest.mark.parametrize(
    ("text", "count", "period_s"),
    [
        ("10 / min", 10, 60.0),
        ("5/s", 5, 1.0),
        ("100 / hour", 100, 3600.0),
        ("100 per day", 100, 86400.0),
        ("3 / 10 s", 3, 10.0),
        ("3 / 10 seconds", 3, 10.0),
        ("2/ 500 ms", 2, 0.5),
    ],
)
def test_starts_in_a_period(text: str, count: int, period_s: float) -> None:
    (limit,) = then_of(f"{{requests: {text}}}").requests
    assert (limit.count, limit.period_s, limit.per) == (count, period_s, "rule")
    assert StartRate.parse(str(limit.limit)) == limit.limit


def test_starts_nest() -> None:
    limits = then_of("{requests: [10 / min, {limit: 2 / s, per: client}]}").requests
    assert [(limit.count, limit.per) for limit in limits] == [(10, "rule"), (2, "client")]
    assert RequestLimit(limit=StartRate(3, 1.0)).describe() == "3 / s per rule"


def test_an_upload() -> None:
    upload = then_of("{upload: {rate: {limit: 1 Mbit/s, per: client}, delay: 1 s}}").upload
    assert upload is not None
    assert [(limit.limit_bytes_per_s, limit.per) for limit in upload.rate] == [(125000.0, "client")]
    assert upload.delay is not None
    assert upload.delay.mean_s == 1.0


@pytest.mark.parametrize("per", ["client", "rule"])
def test_defaults_reach_uploads_and_stages(per: Per) -> None:
    then = then_of(
        "{rate: 1 Mbit/s, upload: {rate: 2 Mbit/s}, "
        "stages: [{for: 1 s, rate: 3 Mbit/s}, {for: 1 s, rate: {limit: 4 Mbit/s, per: host}}]}",
        f"defaults: {{per: {per}, burst: 64 KiB}}\n",
    )
    assert [limit.per for limit in then.rate] == [per]
    assert then.upload is not None
    assert ([limit.per for limit in then.upload.rate], then.upload.burst) == ([per], 65536)
    assert [stage.rate[0].per for stage in then.stages] == [per, "host"]
    assert [stage.burst for stage in then.stages] == [65536, 65536]
    # starts are counted for the rule, whoever shares the bytes
    counted = then_of("{requests: 1 / s}", f"defaults: {{per: {per}}}\n").requests
    assert counted[0].per == "rule"


def test_everything_at_once_describes_itself() -> None:
    then = then_of(
        "{rate: 1 Mbit/s, burst: 64 KiB, as: policer, delay: 300 ms, "
        "stall: {after: 1 MiB, for: 2 s}, cut: {after: 9 MiB}, requests: 10 / min, "
        "quota: {free: 500 MiB, every: day}, upload: {rate: 1 Mbit/s}, from: response, "
        "stages: [{for: 60 s, pass: true}, {for: 60 s, block: 503}]}"
    )
    assert then.describe() == (
        "1 Mbit/s per response, burst 64 KiB, policed, delay 300 ms, stall 2 s after 1 MiB, "
        "cut reset after 9 MiB, 10 / min per rule may start, upload 1 Mbit/s per response, "
        "stages of each response (1 min: pass; 1 min: block 503), "
        "after 500 MiB free per client every day"
    )


# uploads

UPLOADS = """\
version: 1
name: x
rules:
  - name: pages are left alone
    when: {host: a.com, content: [text/html]}
    then: {rate: 1 Mbit/s}
  - name: errors
    when: {host: a.com, status: 5xx}
    then: {upload: {rate: 3 Mbit/s}}
  - name: large photos
    when: {host: a.com, content: photo, size: ">= 1 MiB"}
    then: {upload: {rate: 1 Mbit/s}}
  - name: posts
    when: {host: a.com, method: POST}
    then: {upload: {rate: 2 Mbit/s}}
"""


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"content_type": "image/jpeg", "size": 2 * 2**20}, "large photos"),
        ({"content_type": "image/jpeg", "size": 1000}, "posts"),
        ({"content_type": "application/json", "size": 2 * 2**20}, "posts"),
        # an earlier rule matches and says nothing of uploads
        ({"content_type": "text/html", "size": 10}, None),
        # there is no status yet, whatever the caller says
        ({"content_type": "application/json", "status": 500}, "posts"),
        ({"method": "PUT", "content_type": "application/json"}, None),
        # what the response is wanted for does not make the request's body a photo
        (
            {
                "content_type": "application/octet-stream",
                "size": 2 * 2**20,
                "first_bytes": b"PK",
                "request_headers": {"sec-fetch-dest": "image"},
            },
            "posts",
        ),
    ],
)
def test_which_rule_paces_an_upload(facts: dict[str, object], rule: str | None) -> None:
    decider = Decider(parse_policy(UPLOADS))
    exchange = Exchange(**{"host": "a.com", "method": "POST", **facts})  # type: ignore[arg-type]
    decided = decider.decide_upload(exchange)
    assert (decided.rule.name if decided.rule else None) == rule
    assert not decided.needs_first_bytes


def test_an_upload_may_wait_for_its_first_bytes_and_its_size() -> None:
    decider = Decider(parse_policy(UPLOADS))
    unknown = Exchange(
        "a.com", method="PUT", content_type="application/octet-stream", size=2 * 2**20
    )
    assert decider.decide_upload(unknown).needs_first_bytes
    photo = Exchange("a.com", method="PUT", content_type="image/png", seen=10)
    assert decider.decide_upload(photo).size_step == 2**20
    assert decider.decide_upload(Exchange("b.com", method="PUT")).rule is None
