"""With the throttle or without: the same status, headers, bytes and end.

Each case goes through a bare mitmdump and through ours, whose rules match every response: at a
rate that does not delay the tests, and after a short delay.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.lab.site import media

from . import dial
from .answer import Answer
from .cases import CASES, HANGS, NGINX, ODD, PLAIN, SECURE, TWO, WEBSOCKET, Case, lower
from .figures import Figures
from .http1 import http1
from .http2 import http2
from .nginx import running_nginx
from .odd import running_odd

pytestmark = pytest.mark.e2e

BARE, STREAMING, RATE, DELAY, SLOW = "bare", "streaming", "80 Mbit/s", "delay", "400 kbit/s"
POLICIES = {
    RATE: "{rate: 80 Mbit/s}",
    DELAY: "{rate: 200 Mbit/s, delay: 40 ms}",
    SLOW: "{rate: 400 kbit/s}",
}


HANGS_S = 1.0  # how long to wait for an answer that mitmproxy does not end


@dataclass
class Lab:
    proxies: dict[str, RunningProxy]
    counts: Counter[str]


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, policy: Callable[[str], Path], figures: Figures
) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("identity")
    for name in ("photo-small.jpg", "photo.jpg", "photo-large.jpg"):
        (root / name).write_bytes(media(name))
    (root / "page.html").write_bytes(b"<!doctype html><p>text")
    (root / "8mb.bin").write_bytes(noise(0, 8_000_000))
    (root / "zipped.txt").write_bytes(b"not this one")
    (root / "zipped.txt.gz").write_bytes(_zipped())
    authority = trustme.CA()
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        nginx = stack.enter_context(running_nginx(root, [NGINX], authority))
        odd = stack.enter_context(running_odd([ODD], authority))
        resolve = {
            f"{NGINX}:{443}": ("127.0.0.1", nginx.port),
            f"{NGINX}:{80}": ("127.0.0.1", nginx.plain_port),
            f"{ODD}:{443}": ("127.0.0.1", odd.port),
            f"{ODD}:{80}": ("127.0.0.1", odd.plain_port),
        }

        def start(path: Path | None, *options: str) -> RunningProxy:
            return stack.enter_context(
                running_proxy(path, options=options, upstream_ca=odd.ca_path, resolve=resolve)
            )

        proxies = {BARE: start(None), STREAMING: start(None, "--set", "stream_large_bodies=1")}
        for name, effects in POLICIES.items():
            # The host of every request, and any response to it.
            rule = f"{{name: all, when: {{host: ~.}}, then: {effects}}}"
            proxies[name] = start(policy(f"version: 1\nname: all\nrules:\n- {rule}\n"))
        yield Lab(proxies, counts)
        known = _faults(proxies[STREAMING].log())
        for name in POLICIES:
            assert _faults(proxies[name].log()) <= known
    for name, count in counts.items():
        figures.add(f"identity, {name}: answers the same as bare mitmdump's", count)


def _faults(log: str) -> set[str]:
    """The last line of each traceback: mitmproxy 12 has one of its own for HTTP/1 trailers."""
    return set(re.findall(r"^\w*(?:Error|Exception)\b.*", log, re.MULTILINE)) | (
        {"a traceback"} if "Traceback" in log else set()
    )


def _zipped() -> bytes:
    return gzip.compress(b"this one\n" * 3000, mtime=0)


def ask(proxy: RunningProxy, case: Case) -> list[Answer]:
    answers = []
    if case.protocol == TWO:
        two = http2(proxy, case.host)
        for each in map(lower, case.asks):
            answer = two.send(each.method, each.path, each.headers, each.body or None)
            two.run(lambda answer=answer: answer.ended_at > 0)
            answers.append(answer)
        two.close()
        return answers
    one = http1(proxy, case.host, secure=case.protocol == SECURE)
    for each in case.asks:
        headers = list(each.headers)
        if each.body and "transfer-encoding" not in {name.lower() for name, _ in headers}:
            headers.append(("Content-Length", str(len(each.body))))
        one.send(each.method, each.path, headers, each.body, raw=each.raw)
        until = time.perf_counter() + HANGS_S if case.name in HANGS else None
        answers.append(one.receive(until=until))
    one.close()
    return answers


def told(answer: Answer) -> dict[str, object]:
    """All that must be the same, without what differs between any two requests."""
    boundary = re.search(
        rb"boundary=(\S+)",
        dict(answer.headers).get(b"Content-Type", b"")
        or dict(answer.headers).get(b"content-type", b""),
    )
    body = bytes(answer.body)
    headers = [
        (name, b"now" if name.lower() == b"date" else value) for name, value in answer.headers
    ]
    if boundary:  # nginx counts its multipart answers
        word = boundary.group(1)
        body = body.replace(word, b"boundary")
        headers = [(name, value.replace(word, b"boundary")) for name, value in headers]
    return {
        "status": answer.status,
        "version": answer.http_version,
        "reason": answer.reason,
        "early": answer.early,
        "headers": headers,
        "body": (len(body), hashlib.sha256(body).hexdigest()),
        "trailers": answer.trailers,
        "end": answer.end,
    }


@pytest.mark.parametrize("ours", [RATE, DELAY])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_same_answer(case: Case, ours: str, lab: Lab) -> None:
    expected = [told(each) for each in ask(lab.proxies[STREAMING if case.broken else BARE], case)]
    actual = [told(each) for each in ask(lab.proxies[ours], case)]
    assert actual == expected
    lab.counts[ours] += len(actual)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.broken and case.name not in HANGS],
    ids=lambda case: case.id,
)
def test_what_is_held_when_the_origin_goes_is_not_lost(case: Case, lab: Lab) -> None:
    """20 kB at 50 kB/s: when the origin breaks off after 0.1 s, most of it waits in the proxy."""
    expected = [told(each) for each in ask(lab.proxies[STREAMING], case)]
    actual = [told(each) for each in ask(lab.proxies[SLOW], case)]
    assert actual == expected
    lab.counts[SLOW] += len(actual)


def test_the_delay_was_there(lab: Lab) -> None:
    """Or the second pass would be the first once more."""
    case = Case("delayed", PLAIN, ODD, (next(c for c in CASES if c.name == "text").asks[0],))
    start = time.perf_counter()
    answer = ask(lab.proxies[DELAY], case)[0]
    assert answer.headers_at - start >= 0.04


@pytest.mark.parametrize("ours", [RATE, DELAY])
@pytest.mark.parametrize("protocol", [PLAIN, SECURE])
def test_a_websocket_still_opens_and_speaks(protocol: str, ours: str, lab: Lab) -> None:
    def talk(proxy: RunningProxy) -> tuple[list[tuple[int, list[tuple[bytes, bytes]]]], bytes]:
        one = http1(proxy, ODD, secure=protocol == SECURE)
        one.send("GET", WEBSOCKET.path, WEBSOCKET.headers)
        answer = one.receive()
        one.sock.sendall(b"\x81\x85\x00\x00\x00\x00hello")
        one.sock.settimeout(dial.TIMEOUT_S)
        said = b""
        while piece := one.sock.recv(100):
            said += piece
            if said.endswith(b"\x88\x02\x03\xe8"):
                break
        one.close()
        return answer.early, said

    assert talk(lab.proxies[ours]) == talk(lab.proxies[BARE])
