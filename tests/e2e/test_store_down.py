"""Responses without a store, as `throttle_store_down` wants it; TLS and passwords."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import trustme

from mitmthrottle.lab.proxy import ProxyNotStarted, RunningProxy, running_proxy

from .figures import Figures
from .ran import watched
from .store_crowd import Body, Crowd, crowd, until
from .store_fleet import options
from .store_server import StoreServer, running_store

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
name: down
rules:
  - {name: shared, when: {host: shared.test}, then: {rate: {limit: 40 kB/s, per: rule}}}
  - {name: own, when: {host: own.test}, then: {rate: 40 kB/s}}
"""
RATE = 40_000.0
WORD = "a-word-nobody-says"
ALLOWED = re.findall(r"[+~&][a-z:|*]+", (Path(__file__).parents[2] / "docs/store.md").read_text())
"""What the documentation says that a user of the store has to be allowed."""


@pytest.fixture(scope="module")
def people() -> Iterator[Crowd]:
    with crowd() as made:
        yield made


def rate_of(
    people: Crowd, proxy: RunningProxy, host: str = "shared.test", *, free: bool = False
) -> tuple[Body, float]:
    """Of a new response, over its limit, from a second after its first byte on.  `free`: there is
    no limit, so the machine is as busy as it can be."""
    (body,) = people.join(("127.0.0.1", proxy.port), 1, host=host)
    with watched([proxy.pid, people.thread_id]) as ran:
        until(lambda: body.first_byte_s is not None or body.broken is not None, 10)
        start = time.perf_counter() + 1
        if not free:
            start = ran.next_undisturbed(start, 1.5)
        time.sleep(max(0.0, start + 1.5 - time.perf_counter()))
    return body, people.rates(start, start + 1.5, [body])[0] / RATE


def page(door: tuple[str, int], path: str) -> str:
    """What the proxy says of itself."""
    with httpx.Client(proxy=f"http://{door[0]}:{door[1]}") as client:
        return client.get(f"http://throttle.proxy{path}").text


@pytest.mark.parametrize(("down", "expected"), [("split", 1.0), ("open", None), ("block", 0.0)])
def test_what_is_done_without_it(
    down: str,
    expected: float | None,
    people: Crowd,
    policy: Callable[[str], Path],
    figures: Figures,
) -> None:
    with running_store() as store, running_proxy(
        policy(POLICY),
        options=options(store, down),
        resolve={"*": (people.address, people.port)},
    ) as proxy:  # fmt: skip
        door = ("127.0.0.1", proxy.port)
        early, before = rate_of(people, proxy)
        assert before == pytest.approx(1.0, rel=0.1)
        store.kill()
        assert until(lambda: " is away (" in proxy.log(), 5) is not None
        assert "mitmthrottle_store_up 0.0" in page(door, "/metrics")
        shown = json.loads(page(door, "/api/state"))["store"]
        assert shown["meanwhile"] == down
        assert shown["away_s"] > 0
        if expected != 0:
            people.leave([early])
            body, meanwhile = rate_of(people, proxy, free=expected is None)
            people.leave([body])
            figures.add(f"store down, {down}: rate of a new response over the limit", meanwhile)
            assert body.status == 200
            assert meanwhile > 20 if expected is None else meanwhile == pytest.approx(1, rel=0.1)
        else:
            body, _ = rate_of(people, proxy)
            assert body.status == 503
            assert early.broken is None
            now = time.perf_counter()
            assert people.rates(now - 1, now, [early])[0] / RATE == pytest.approx(1, rel=0.15)
            people.leave([early])
        other, own = rate_of(people, proxy, "own.test")
        people.leave([other])
        assert own == pytest.approx(1.0, rel=0.1)
        store.start()
        assert until(lambda: " is back after " in proxy.log(), 5) is not None
        body, after = rate_of(people, proxy)
        people.leave([body])
        assert after == pytest.approx(1.0, rel=0.1)
        assert proxy.log().count(" is away (") == 1
        metrics = page(door, "/metrics")
        assert "mitmthrottle_store_up 1.0" in metrics
        assert "mitmthrottle_store_outages_total 1.0" in metrics
        assert json.loads(page(door, "/api/state"))["store"]["away_s"] is None
        assert "Traceback" not in proxy.log()


def test_tls_and_a_user_with_a_password(
    people: Crowd,
    policy: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = trustme.CA()
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-store-tls-") as name:
        folder = Path(name)
        (folder / "password").write_text(f"{WORD}\n")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        store = StoreServer(folder)
        with socket.create_server(("127.0.0.1", 0)) as free:
            tls_port = free.getsockname()[1]
        store.start(
            *("--tls-port", str(tls_port), "--tls-cert-file", str(folder / "cert.pem")),
            *("--tls-key-file", str(folder / "key.pem"), "--tls-auth-clients", "no"),
            *("--user", "throttle", "on", f">{WORD}", *ALLOWED),
            *("--user", "default", "off"),
        )
        try:
            url = f"throttle_store=valkeys://throttle@127.0.0.1:{tls_port}?ca={folder}/ca.pem"
            monkeypatch.setenv("MITMTHROTTLE_STORE_PASSWORD_FILE", str(folder / "password"))
            with started(policy, people, url) as proxy:
                body, rate = rate_of(people, proxy)
                people.leave([body])
                assert rate == pytest.approx(1.0, rel=0.1)
                assert " is away (" not in proxy.log()
                assert WORD not in proxy.log()
            monkeypatch.setenv("MITMTHROTTLE_STORE_PASSWORD_FILE", str(folder / "ca.pem"))
            with started(policy, people, url) as proxy:
                assert until(lambda: " is away (" in proxy.log(), 5) is not None
                assert "CERTIFICATE" not in proxy.log()
                body, rate = rate_of(people, proxy)
                people.leave([body])
                assert rate == pytest.approx(1.0, rel=0.1)
        finally:
            store.kill()


def started(
    policy: Callable[[str], Path], people: Crowd, url: str
) -> AbstractContextManager[RunningProxy]:
    return running_proxy(
        policy(POLICY), options=["--set", url], resolve={"*": (people.address, people.port)}
    )


def test_a_wrong_address_is_said(policy: Callable[[str], Path]) -> None:
    with (
        pytest.raises(ProxyNotStarted, match="throttle_store: `store:6379` is no address"),
        running_proxy(policy(POLICY), options=["--set", "throttle_store=store:6379"]),
    ):
        pass
