"""docs/record.md says what is so: its examples are made here, its tables are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.options import Options
from mitmproxy.test import taddons

from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.mark import METADATA_KEY
from mitmthrottle.watch.log import Log, line_of
from mitmthrottle.watch.metrics import MOST_RULES, Metrics
from mitmthrottle.watch.why import why
from tests.proxy.playbook import wire
from tests.proxy.test_http_stream import BODY, GET, HEAD_20K, SLOW, with_effect

from .records import record
from .test_why import TWO, policy, slowed

DOCS = (Path(__file__).parents[2] / "docs" / "record.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


def section(title: str) -> str:
    return DOCS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_line_of_the_log_has_the_fields_of_a_record() -> None:
    (line,) = fenced("json")
    example: dict[str, Any] = json.loads(line)
    made = json.loads(line_of(record()))
    assert list(example) == list(made)
    for name, value in example.items():
        if made[name] is not None and value is not None:
            assert type(value) is type(made[name]), name
    assert line.count("\n") == 1


def test_every_field_is_explained() -> None:
    rows = re.findall(r"(?m)^\| (`.*?) \|", section("The log"))
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert explained == set(json.loads(line_of(record())))


def test_every_field_of_the_metadata_is_explained() -> None:
    metadata = slowed().metadata[METADATA_KEY]
    assert not [name for name in metadata if f"`{name}`" not in section(MITMPROXY)]


MITMPROXY = "In mitmproxy, mitmweb, saved flows and HAR files"


def test_the_comment_is_the_one_shown() -> None:
    assert slowed().comment in DOCS


@pytest.mark.parametrize("text", [SLOW, TWO])
def test_what_why_says_is_what_is_shown(text: str) -> None:
    assert why(slowed(text), policy(text), None) + "\n" in fenced("text")


def test_the_header_is_the_one_shown() -> None:
    with wire(with_effect("rate: 8 kB/s, delay: 300 ms")) as w:
        w.engine.server_timing = True
        w.request(GET)
        w.respond(HEAD_20K)
        w.respond(BODY)
        w.pass_time(1)
        (shown,) = re.findall(r"(?m)^Server-Timing: .*$", DOCS)
        assert shown.encode() in w.received()


def test_every_metric_and_its_labels_are_told() -> None:
    told = {
        name: [label.strip() for label in labels.split(",") if label.strip()]
        for name, labels in re.findall(r"(?m)^\| `(mitmthrottle_\w+)` \| (.*?) ?\|", DOCS)
    }
    with wire(SLOW) as w:
        metrics = Metrics(w.addon, Log())
        w.addon.observe(metrics)
        for kind in ("response", "upload"):
            metrics.ended(record(kind=kind))
        w.request(GET)
        w.respond(HEAD_20K)
        metrics.exposition()  # as whoever reads them does
        families = list(metrics.registry.collect())
    made = {}
    for family in families:
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = set(family.samples[0].labels) - {"le"}
        made[family.name + suffix] = labels
    assert {name: set(labels) for name, labels in told.items()} == made
    assert f"The first {MOST_RULES} rules" in DOCS


def test_every_option_is_told() -> None:
    with taddons.context(Throttle(), Log(), options=Options()) as tctx:
        ours = [
            name
            for name in tctx.options.keys()  # noqa: SIM118  (not a dict)
            if name.startswith(("throttle_log", "throttle_server"))
        ]
    assert len(ours) == 4
    assert not [name for name in ours if f"`{name}" not in DOCS and f" {name}=" not in DOCS]


def test_the_watcher_shown_works(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(fenced("python")[0], names)
    for what in (record(), record(rule=None, asked_bytes_per_s=None, measured_bytes_per_s=None)):
        names["Slowest"]().ended(what)
    assert capsys.readouterr().out == "photos 7990.123456\nno rule None\n"
