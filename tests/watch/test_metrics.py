"""What Prometheus reads, and that it stays bounded."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mitmthrottle.policy import PolicyError
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.watch.log import Log
from mitmthrottle.watch.metrics import MOST_RULES, Metrics
from tests.proxy.playbook import wire
from tests.proxy.test_http_stream import BODY, GET, HEAD_20K, SLOW

from .records import record, rule

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Metrics) -> Samples:
    text, _ = metrics.exposition("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Samples, metric: str, /, **labels: str) -> float | None:
    return found.get((f"mitmthrottle_{metric}", frozenset(labels.items())))


def test_a_record_is_counted() -> None:
    metrics = Metrics(Throttle(), Log())
    metrics.ended(record())
    metrics.ended(record(outcome="client-gone", measured_bytes_per_s=None))
    metrics.ended(record(kind="upload", direction="up", sent_bytes=5))
    found = samples(metrics)
    photos = {"rule": "photos", "content": "photo"}
    assert value(found, "responses_total", **photos, outcome="complete") == 1
    assert value(found, "responses_total", **photos, outcome="client-gone") == 1
    upload = {"kind": "upload", "direction": "up", "rule": "photos", "outcome": "complete"}
    assert value(found, "relayed_total", **upload) == 1
    assert value(found, "sent_bytes_total", **photos, direction="down") == 40_000
    assert value(found, "sent_bytes_total", **photos, direction="up") == 5
    assert value(found, "waited_seconds_total", **photos) == pytest.approx(7.2)
    assert value(found, "asked_bytes_per_second_sum", rule="photos") == 24_000
    assert value(found, "asked_bytes_per_second_count", rule="photos") == 3
    assert value(found, "measured_bytes_per_second_count", rule="photos") == 2
    assert value(found, "measured_bytes_per_second_bucket", rule="photos", le="10000.0") == 2
    assert value(found, "measured_bytes_per_second_bucket", rule="photos", le="3000.0") == 0
    assert value(found, "measured_to_asked_ratio_bucket", rule="photos", le="0.99") == 0
    assert value(found, "measured_to_asked_ratio_bucket", rule="photos", le="1.01") == 2


def test_who_shares_a_rate_says_nothing_of_its_accuracy() -> None:
    metrics = Metrics(Throttle(), Log())
    shared = rule("shared", "rate: {limit: 8 kB/s, per: client}")
    metrics.ended(record(rule=shared, measured_bytes_per_s=2000.0))
    found = samples(metrics)
    assert value(found, "measured_bytes_per_second_count", rule="shared") == 1
    assert value(found, "measured_to_asked_ratio_count", rule="shared") is None


def test_unmatched_responses_make_no_labels() -> None:
    metrics = Metrics(Throttle(), Log())
    before = samples(metrics)
    metrics.ended(record(rule=None))
    assert samples(metrics) == before


def test_ten_thousand_rules_are_bounded() -> None:
    metrics = Metrics(Throttle(), Log())
    for number in range(MOST_RULES + 800):
        metrics.ended(record(rule=rule(f"rule {number}")))
    found = samples(metrics)
    told_apart = [key for key in found if key[0] == "mitmthrottle_responses_total"]
    assert len(told_apart) == MOST_RULES + 1
    others = {"rule": "other", "content": "photo", "outcome": "complete"}
    assert value(found, "responses_total", **others) == 800


def test_nothing_of_a_client_is_told() -> None:
    metrics = Metrics(Throttle(), Log())
    metrics.ended(record())
    text, _ = metrics.exposition()
    for secret in (b"198.18.0.7", b"slow.example", b"p.jpg"):
        assert secret not in text


def test_what_is_so_now() -> None:
    with wire(SLOW) as w:
        metrics = Metrics(w.addon, Log())
        w.addon.observe(metrics)
        w.engine.version = "0123456789ab"
        w.request(GET.replace("slow", "other"))
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(1)
        found = samples(metrics)
        assert value(found, "active", kind="response", rule="photos") == 1
        assert value(found, "held_bytes") == pytest.approx(12_000, rel=0.05)
        assert value(found, "policy_info", name="test", version="0123456789ab") == 1
        assert value(found, "policy_rules") == 1
        assert value(found, "unmatched_responses_total") == 1
        w.pass_time(2)
        found = samples(metrics)
        assert value(found, "active", kind="response", rule="photos") is None
        assert value(found, "held_bytes") == 0
        done = {"rule": "photos", "content": "photo", "outcome": "complete"}
        assert value(found, "responses_total", **done) == 1


def test_what_has_just_ended_is_counted_before_it_is_told() -> None:
    with wire(SLOW) as w:
        metrics = Metrics(w.addon, Log())
        w.addon.observe(metrics)
        w.addon.observers.tell_later(lambda delay_s, tell: None)
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(3)
        done = {"rule": "photos", "content": "photo", "outcome": "complete"}
        assert value(samples(metrics), "responses_total", **done) == 1


def test_reloads_and_errors_are_counted() -> None:
    with wire(SLOW) as w:
        log = Log()
        metrics = Metrics(w.addon, log)
        w.addon.observe(metrics)
        w.addon._reloaded(w.addon.control.policy)
        w.addon._broken(PolicyError(()))
        w.addon.disable("photos")  # no reload
        w.addon.observers.faults["Broken.began"] = 2
        log.lost = 7
        metrics.failed("something")
        found = samples(metrics)
        assert value(found, "policy_reloads_total", result="good") == 1
        assert value(found, "policy_reloads_total", result="refused") == 1
        assert value(found, "failures_total") == 1
        assert value(found, "watcher_failures_total") == 2
        assert value(found, "log_lost_lines_total") == 7


def test_without_a_policy_there_is_still_an_answer() -> None:
    found = samples(Metrics(Throttle(), Log()))
    assert value(found, "failures_total") == 0
    assert value(found, "policy_rules") is None


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ],
)
def test_the_format_is_the_one_asked_for(accept: str, content_type: str) -> None:
    _, got = Metrics(Throttle(), Log()).exposition(accept)
    assert got.startswith(content_type)
