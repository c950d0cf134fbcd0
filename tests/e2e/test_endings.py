"""However a slow response ends, it ends at once and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import dial
from .answer import COMPLETE, OPEN, Answer
from .figures import Figures
from .http1 import Http1, http1
from .http2 import Http2, http2
from .odd import Odd, running_odd
from .process import alive, connections, connections_to, wait_for

pytestmark = pytest.mark.e2e

HOST = "odd.example.org"
AT_ONCE_S = 1.0
POLICY = """
version: 1
name: endings
rules:
  - {name: delayed, when: {host: .example.org, path: "*?delayed*"}, then: {delay: 1 min}}
  - {name: mute, when: {host: .example.org, path: "*?mute*"}, then: {block: timeout}}
  - {name: mute late, when: {host: .example.org, path: "*?late*", content: photo},
     then: {block: timeout}}
  - {name: refused late, when: {host: .example.org, path: "*?refused*"},
     then: {block: 451, delay: 1 min}}
  - {name: slow, when: {host: .example.org, content: photo}, then: {rate: 128 kbit/s}}
"""


@dataclass
class Lab:
    odd: Odd
    proxy: RunningProxy
    witness: Path
    before: int = 0
    """lines that the witness had written before this test"""

    def events(self, path: str) -> list[dict[str, Any]]:
        """What the witness has written of a path."""
        lines = [json.loads(line) for line in written(self.witness)[self.before :]]
        return [line for line in lines if line["path"] == path]

    def outcomes(self, path: str) -> list[str]:
        """The throttle's outcome of each flow of that path, as the flow says it."""
        last = {event["flow"]: event["throttle"] for event in self.events(path)}
        return [told["outcome"] for told in last.values() if told and "outcome" in told]

    def ended(self, path: str) -> int:
        """How many flows of that path mitmproxy holds for ended."""
        return sum(1 for each in self.events(path) if each["hook"] in ("response", "error"))

    def upstream(self) -> int:
        return connections_to(self.proxy.pid, self.odd.port, self.odd.plain_port)

    def clients(self) -> int:
        own = self.proxy.port
        return sum(1 for each in connections(self.proxy.pid) if each[0] == own and each[1])

    def quiet(self) -> bool:
        return not self.upstream() and not self.clients()


def written(witness: Path) -> list[str]:
    return witness.read_text().splitlines() if witness.exists() else []


@contextlib.contextmanager
def running_lab(folder: Path, policy: Callable[[str], Path]) -> Iterator[Lab]:
    witness = folder / "witness.jsonl"
    options = ["-s", str(Path(__file__).with_name("witness.py")), "--set", f"witness={witness}"]
    with (
        running_odd([HOST]) as odd,
        running_proxy(
            policy(POLICY), options=options, upstream_ca=odd.ca_path, resolve=odd.resolve
        ) as proxy,
    ):
        yield Lab(odd, proxy, witness)
        assert "has crashed" not in proxy.log()
        assert "Traceback" not in proxy.log()


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, policy: Callable[[str], Path]
) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("endings"), policy) as running:
        yield running


@pytest.fixture
def lab(shared: Lab) -> Lab:
    """One for all, since each test leaves nothing of it; what was noted before does not count."""
    shared.odd.journal.clear()
    return replace(shared, before=len(written(shared.witness)))


def begin(lab: Lab, path: str, *, secure: bool) -> Http1:
    """A response under way: its first bytes have come."""
    client = http1(lab.proxy, HOST, secure=secure)
    client.send("GET", path)
    under_way(client)
    return client


def under_way(client: Http1) -> None:
    """Its first bytes have come; on a busy machine they take their time."""
    deadline = time.perf_counter() + 5.0
    status = 0
    while status == 0:
        assert time.perf_counter() < deadline
        answer = client.receive(until=time.perf_counter() + 0.05)
        status = answer.status
        assert answer.end == OPEN
    assert status == 200


def gone(lab: Lab, path: str, since: float, figures: Figures, how: str) -> None:
    """The origin, mitmproxy and the throttle all learn of it, and at once."""
    notes = lab.odd.journal.wait("gone", path)
    assert notes, "the origin still sends"
    figures.add(f"endings, {how}: until the origin is released", 1e3 * (notes[0].at - since), "ms")
    assert notes[0].at - since < AT_ONCE_S
    assert wait_for(lambda: lab.ended(path) == 1, AT_ONCE_S) is not None
    assert wait_for(lambda: lab.outcomes(path) == ["client-gone"], AT_ONCE_S) is not None


# -- the proper end


def test_a_complete_one_is_marked_and_says_what_was_done(lab: Lab) -> None:
    client = http2(lab.proxy, HOST)
    photo, page = client.get("/photo.jpg"), client.get("/text")
    client.close()
    assert (photo.end, page.end) == (COMPLETE, COMPLETE)
    assert wait_for(lambda: lab.outcomes("/photo.jpg") == ["complete"], AT_ONCE_S) is not None
    told = lab.events("/photo.jpg")[-1]
    assert told["marked"]
    assert "`slow`" in told["comment"]
    assert "128 kbit/s" in told["comment"]
    assert told["throttle"]["bytes"] == 60_000
    assert told["throttle"]["measured_bytes_per_s"] == pytest.approx(16_000, rel=0.02)
    assert not any(event["marked"] or event["comment"] for event in lab.events("/text"))


# -- the client goes


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_client_of_http1_goes(how: str, secure: bool, lab: Lab, figures: Figures) -> None:
    path = f"/endless.jpg?{how}"
    client = begin(lab, path, secure=secure)
    since = time.perf_counter()
    if how == "closes":
        client.close()
    else:
        dial.reset(client.sock)
    gone(lab, path, since, figures, f"HTTP/1.1 {'tls' if secure else 'plain'} client {how}")
    assert wait_for(lab.quiet, AT_ONCE_S) is not None


def test_a_stream_is_cancelled(lab: Lab, figures: Figures) -> None:
    client = http2(lab.proxy, HOST)
    left, kept = (client.send("GET", f"/endless.jpg?{name}") for name in ("left", "kept"))
    client.run(lambda: bool(left.arrivals and kept.arrivals))
    since = time.perf_counter()
    client.cancel(left)
    before = kept.size
    client.run(lambda: False, until=since + 1.5)
    gone(lab, "/endless.jpg?left", since, figures, "HTTP/2 stream cancelled")
    assert not lab.odd.journal.find("gone", "/endless.jpg?kept")
    assert kept.size - before == pytest.approx(1.5 * 16_000, rel=0.1)
    since = time.perf_counter()
    client.close()
    gone(lab, "/endless.jpg?kept", since, figures, "HTTP/2 connection closed")
    assert wait_for(lab.quiet, AT_ONCE_S) is not None


def test_a_connection_with_thirty_streams_goes(lab: Lab) -> None:
    path = "/endless.jpg"
    client = http2(lab.proxy, HOST)
    answers = [client.send("GET", path) for _ in range(30)]
    client.run(lambda: all(answer.arrivals for answer in answers))
    since = time.perf_counter()
    dial.reset(client.sock)
    notes = lab.odd.journal.wait("gone", path, 30)
    assert len(notes) == 30
    assert notes[-1].at - since < AT_ONCE_S
    assert wait_for(lambda: lab.outcomes(path) == ["client-gone"] * 30, AT_ONCE_S) is not None
    assert wait_for(lab.quiet, AT_ONCE_S) is not None


@pytest.mark.parametrize("why", ["delayed", "mute", "late", "refused"])
@pytest.mark.parametrize("protocol", ["http/1.1 plain", "http/1.1 tls", "http/2"])
def test_a_client_goes_before_the_first_byte(why: str, protocol: str, lab: Lab) -> None:
    path = f"/photo.jpg?{why}"
    if protocol == "http/2":
        client: Http1 | Http2 = http2(lab.proxy, HOST)
    else:
        client = http1(lab.proxy, HOST, secure=protocol == "http/1.1 tls")
    answer = client.get(path, until=time.perf_counter() + 0.5)
    assert (answer.status, answer.end) == (0, OPEN)
    client.close()
    assert wait_for(lambda: lab.ended(path) == 1, AT_ONCE_S) is not None
    assert wait_for(lab.quiet, AT_ONCE_S) is not None
    assert lab.outcomes(path) == ["client-gone"]


def test_a_client_that_never_reads_goes(lab: Lab) -> None:
    """Its socket is full and its response held: that must not hide that it has gone."""
    path = "/endless.jpg?deaf"
    client = http1(lab.proxy, HOST, secure=False)
    client.send("GET", path)
    lab.odd.journal.wait("started", path)
    time.sleep(1.0)  # time for something to pile up
    since = time.perf_counter()
    dial.reset(client.sock)
    notes = lab.odd.journal.wait("gone", path)
    assert notes
    assert notes[0].at - since < AT_ONCE_S
    assert wait_for(lab.quiet, AT_ONCE_S) is not None


# -- the origin goes


@pytest.mark.parametrize("path", ["/truncated", "/reset", "/chunked-truncated"])
def test_an_origin_of_http1_goes(path: str, lab: Lab) -> None:
    client = http1(lab.proxy, HOST, secure=True)
    answer = client.get(path)
    assert answer.size >= 20_000  # what it had sent is not lost
    assert answer.end != COMPLETE
    assert answer.duration_s < AT_ONCE_S  # at 16 kB/s they would have taken longer
    client.close()
    assert wait_for(lambda: lab.outcomes(path) == ["origin-gone"], AT_ONCE_S) is not None
    assert lab.ended(path) == 1
    assert wait_for(lab.quiet, AT_ONCE_S) is not None


@pytest.mark.parametrize("path", ["/reset", "/connection-closed", "/connection-reset"])
def test_an_origin_of_http2_goes(path: str, lab: Lab) -> None:
    client = http2(lab.proxy, HOST)
    answer = client.get(path)
    assert answer.size == 20_000
    assert answer.end.startswith("stream reset")
    assert answer.duration_s < AT_ONCE_S
    # The connection to the client outlives it.
    assert client.get("/text").status == 200
    client.close()
    assert wait_for(lambda: lab.outcomes(path) == ["origin-gone"], AT_ONCE_S) is not None
    assert lab.ended(path) == 1
    assert wait_for(lab.quiet, AT_ONCE_S) is not None


# -- the proxy stops


@pytest.fixture
def own(tmp_path: Path, policy: Callable[[str], Path]) -> Iterator[Lab]:
    """One that may be stopped."""
    with running_lab(tmp_path, policy) as running:
        yield running


def test_the_proxy_stops_with_fifty_under_way(own: Lab, figures: Figures) -> None:
    lab = own
    two = http2(lab.proxy, HOST, keep=False)
    streams = [two.send("GET", "/endless.jpg") for _ in range(25)]
    two.run(lambda: all(stream.arrivals for stream in streams))
    ones = [begin_quick(lab, n % 2 == 0) for n in range(25)]
    ends: list[Answer] = []

    def wait(client: Http1) -> None:
        ends.append(client.receive())

    threads = [threading.Thread(target=wait, args=(one,)) for one in ones]
    threads.append(
        threading.Thread(target=two.run, args=(lambda: all(s.end != OPEN for s in streams),))
    )
    for thread in threads:
        thread.start()
    since = time.perf_counter()
    os.kill(lab.proxy.pid, signal.SIGTERM)
    stopped = wait_for(lambda: not alive(lab.proxy.pid), 10.0)
    for thread in threads:
        thread.join()
    assert stopped is not None
    figures.add("endings, proxy stops with 50 responses under way: gone after", stopped, "s")
    assert stopped < 2.0
    last = max([answer.ended_at for answer in [*ends, *streams]])
    figures.add("endings, proxy stops: last client has its end after", last - since, "s")
    assert len(ends) == 25
    assert all(answer.end not in (OPEN, COMPLETE) for answer in [*ends, *streams])
    assert last - since < 2.0
    assert len(lab.odd.journal.wait("gone", "/endless.jpg", 50)) == 50
    assert lab.outcomes("/endless.jpg") == ["stopped"] * 50
    for one in ones:
        one.close()
    two.close()


def begin_quick(lab: Lab, secure: bool) -> Http1:
    client = http1(lab.proxy, HOST, secure=secure, keep=False)
    client.send("GET", "/endless.jpg")
    under_way(client)
    return client


# -- nothing piles up


def test_a_hundred_that_are_left_leave_nothing(lab: Lab, figures: Figures) -> None:
    path = "/endless.jpg?left"
    for number in range(100):
        client = http1(lab.proxy, HOST, secure=number % 2 == 0, keep=False)
        client.send("GET", path)
        under_way(client)
        client.close()
    assert wait_for(lab.quiet, AT_ONCE_S) is not None
    assert wait_for(lambda: lab.ended(path) == 100, AT_ONCE_S) is not None
    wait_for(lambda: len(lab.outcomes(path)) == 100, AT_ONCE_S)
    outcomes = Counter(lab.outcomes(path))
    figures.add(
        "endings, 100 responses left in mid-body: told as client-gone", outcomes["client-gone"]
    )
    figures.add(
        "endings, 100 left: connections that the proxy still has",
        len(connections(lab.proxy.pid)) - 1,
    )
    assert outcomes == {"client-gone": 100}
