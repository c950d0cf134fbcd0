"""Which line of the proxy's record belongs to which request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mitmthrottle.compare.record import assign, read_record
from mitmthrottle.policy import Exchange, parse_policy
from mitmthrottle.proxy.record import Record
from mitmthrottle.watch.log import line_of

from .made import request

ORIGIN = 1_800_000_000.0
POLICY = parse_policy(
    "version: 1\nname: a\nrules: [{name: photos, when: {host: .example.org}, "
    "then: {rate: 128 kbit/s}}]"
)


def row(at_s: float, url_path: str, **more: Any) -> dict[str, Any]:
    """As the proxy's own log writes it."""
    record = Record(
        kind="response",
        direction="down",
        flow_id="1",
        time=ORIGIN + at_s,
        exchange=Exchange(host="WWW.example.org", path=url_path, status=200),
        rule=POLICY.rules[0],
        asked_bytes_per_s=16_000.0,
        measured_bytes_per_s=15_990.0,
        sent_bytes=500,
        waited_s=1.0,
        duration_s=1.1,
        outcome="complete",
    )
    return {**json.loads(line_of(record)), **more}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_a_slowed_response_is_named_and_one_without_a_rule_is_not(tmp_path: Path) -> None:
    requests = [request("photo.jpg?a=1"), request("text", bytes=None), request("other")]
    lines = read_record(
        written(
            tmp_path,
            row(0.14, "/text", rule=None, line=None, bytes=77),
            row(0.13, "/photo.jpg?a=1"),
        )
    )
    photo, text, other = assign(requests, lines, ORIGIN)
    assert photo.slowed is not None
    assert (photo.slowed.rule, photo.slowed.line, photo.slowed.asked_bytes_per_s) == (
        "photos", 3, 16_000.0,
    )  # fmt: skip
    assert photo.bytes == 500
    assert (text.slowed, text.bytes) == (None, 77)
    assert other == requests[2]


def test_of_two_requests_for_the_same_each_has_its_own(tmp_path: Path) -> None:
    requests = [request("video.mp4", start_s=0.1), request("video.mp4", start_s=5.0)]
    lines = read_record(
        written(tmp_path, row(5.02, "/video.mp4", bytes=2), row(0.12, "/video.mp4", bytes=1))
    )
    assert [each.bytes for each in assign(requests, lines, ORIGIN)] == [1, 2]


def test_one_that_was_given_up_before_its_headers_has_none(tmp_path: Path) -> None:
    given_up = request("video.mp4", start_s=0.1, first_byte_s=0.2, end_s=0.2, failure="aborted")
    requests = [given_up, request("video.mp4", start_s=3.0)]
    lines = read_record(written(tmp_path, row(3.02, "/video.mp4")))
    assert [each.slowed is not None for each in assign(requests, lines, ORIGIN)] == [False, True]


def test_a_delay_may_be_long(tmp_path: Path) -> None:
    waiting = request("photo.jpg", first_byte_s=9.0, end_s=9.1)
    (found,) = assign([waiting], read_record(written(tmp_path, row(0.2, "/photo.jpg"))), ORIGIN)
    assert found.slowed is not None


def test_what_came_from_the_cache_was_not_slowed(tmp_path: Path) -> None:
    requests = [request("photo.jpg", cached=True), request("photo.jpg")]
    found = assign(requests, read_record(written(tmp_path, row(0.13, "/photo.jpg"))), ORIGIN)
    assert [each.slowed is not None for each in found] == [False, True]


def test_uploads_are_left_out_and_relayed_connections_are_no_requests(tmp_path: Path) -> None:
    lines = read_record(
        written(
            tmp_path,
            row(0.1, "/post", kind="upload", direction="up"),
            row(0.2, "/", kind="opaque", method=None, path=None),
        )
    )
    (relayed,) = lines
    assert relayed.of is None
    assert relayed.slowed is not None
    assert assign([request("")], lines, ORIGIN) == [request("")]


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert read_record(tmp_path / "missing.jsonl") == []
