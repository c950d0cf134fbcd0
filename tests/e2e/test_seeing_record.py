"""The record tells the truth: what it says was measured is what an independent receiver saw."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from .curve import Arrivals
from .figures import Figures
from .language_sink import Sink, running_sink
from .nginx import running_nginx
from .seeing_cases import POLICY, RATES, Case, cases, path_of, watch
from .seeing_events import running_events

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

HOSTS = ("*.example.org",)
ERROR = 0.01
TRIES = 3
"""A receiver that the machine has kept waiting sees another rate: those are watched again, with
fewer others. An error of the record's own would not go away."""
OPENING_S = 0.05  # what comes within this of the first byte came at once
SETTLED_S = 5.0


@dataclass(frozen=True)
class Pair:
    """What a receiver saw, and the line that the log has of it."""

    case: Case
    arrivals: Arrivals
    line: dict[str, Any]

    @property
    def seen_bytes_per_s(self) -> float:
        """Bytes behind the opening over the time in which they came."""
        first = self.arrivals[0][0]
        start = max(at for at, _ in self.arrivals if at - first <= OPENING_S)
        size = sum(size for at, size in self.arrivals if at > start)
        return size / (self.arrivals[-1][0] - start)

    @property
    def told(self) -> bool:
        return self.line["measured_bytes_per_s"] is not None

    @property
    def error(self) -> float:
        return float(self.line["measured_bytes_per_s"]) / self.seen_bytes_per_s - 1


@dataclass
class Lab:
    proxy: RunningProxy
    sink: Sink
    log: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def look_at(self, todo: list[Case]) -> list[Pair]:
        """Each as its receiver saw it, beside its line."""
        by_path = {path_of(case, next(self.numbers)): case for case in todo}
        seen = watch(self.proxy, self.sink, by_path)
        lines = self._lines(by_path)
        return [Pair(case, seen[path], lines[path]) for path, case in by_path.items()]

    def _lines(self, wanted: dict[str, Case]) -> dict[str, dict[str, Any]]:
        """By path: the response's, or the upload's for those that are uploads."""
        deadline = time.monotonic() + SETTLED_S
        while True:
            lines = [json.loads(line) for line in self.log.read_text().splitlines()]
            found = {
                line["path"]: line
                for line in lines
                if line["path"] in wanted
                and line["kind"] == ("upload" if wanted[line["path"]].is_upload else "response")
            }
            if len(found) == len(wanted) or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


@contextlib.contextmanager
def running_lab(folder: Path, sizes: set[int]) -> Iterator[Lab]:
    root = folder / "www"
    root.mkdir()
    for size in sizes:
        with (root / f"{size}.jpg").open("wb") as file:
            file.truncate(size)
    (folder / "policy.yaml").write_text(POLICY)
    authority = trustme.CA()
    with (
        running_nginx(root, HOSTS, authority) as nginx,
        running_sink(HOSTS, authority) as sink,
        running_events() as events,
    ):
        resolve = {**nginx.resolve, "events.example.org:80": ("127.0.0.1", events)}
        for rate in RATES:
            resolve[f"up-{rate}.example.org:443"] = ("127.0.0.1", sink.port)
            resolve[f"up-{rate}.example.org:80"] = ("127.0.0.1", sink.plain_port)
        with running_proxy(
            folder / "policy.yaml",
            upstream_ca=nginx.ca_path,
            resolve=resolve,
            options=["--set", f"throttle_log={folder / 'log'}"],
        ) as proxy:
            yield Lab(proxy, sink, folder / "log")
            assert "Traceback" not in proxy.log()


@pytest.fixture(scope="module")
def tries(tmp_path_factory: pytest.TempPathFactory) -> list[list[Pair]]:
    """All of them, then those again that were not alike, and so on."""
    todo = list(cases())
    found = []
    with running_lab(tmp_path_factory.mktemp("seeing"), {case.size for case in todo}) as lab:
        while todo and len(found) < TRIES:
            found.append(lab.look_at(todo))
            todo = [pair.case for pair in found[-1] if pair.told and abs(pair.error) > ERROR]
    return found


def test_the_record_says_what_the_receiver_saw(tries: list[list[Pair]], figures: Figures) -> None:
    told = [pair for pair in tries[0] if pair.told]
    errors = sorted(abs(pair.error) for pair in told)
    figures.add("record, bodies compared with what their receivers saw", len(told))
    figures.add("record, error of the measured rate, median", 100 * errors[len(errors) // 2], "%")
    figures.add("record, error of the measured rate, 95th percentile",
                100 * errors[int(0.95 * len(errors))], "%")  # fmt: skip
    figures.add("record, watched again since the machine was busy", sum(map(len, tries[1:])))
    settled = [pair for pairs in tries for pair in pairs if pair.told and abs(pair.error) <= ERROR]
    worst = max([*settled, *(pair for pair in tries[-1] if pair.told)], key=lambda p: abs(p.error))
    figures.add("record, error of the measured rate, worst", 100 * worst.error, "%")
    assert len(told) >= 200
    assert abs(worst.error) <= ERROR, worst.case


def test_the_record_counts_the_bytes_that_came(tries: list[list[Pair]]) -> None:
    for pair in tries[0]:
        if pair.line["outcome"] == "complete":
            assert pair.line["bytes"] == sum(size for _, size in pair.arrivals) == pair.case.size


def test_the_record_says_how_each_ended(tries: list[list[Pair]]) -> None:
    for pair in tries[0]:
        expected = "complete"
        if pair.case.leave_s is not None:
            expected = "client-gone"
        elif pair.case.host == "cut":
            expected = "cut"
        assert pair.line["outcome"] == expected
