"""The page's application: what it answers, to whom, with which headers, and how it switches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from mitmproxy.test import taddons, tflow, tutils

from mitmthrottle.watch.page.access import TOKEN_HEADER
from mitmthrottle.watch.page.addon import Page
from mitmthrottle.watch.page.server import Address

from ..proxy.playbook import Wire, wire

POLICY = """
version: 1
name: paged
rules:
  - name: photos / "all" & 100%?
    when: {host: photos.example}
    then: {rate: 16 kB/s}
"""
RULE = 'photos / "all" & 100%?'
QUOTED = "photos%20%2F%20%22all%22%20%26%20100%25%3F"
OWN = "http://127.0.0.1:8089"


@contextmanager
def page_of(policy: str = POLICY, **options: object) -> Iterator[tuple[Wire, Page]]:
    with wire(policy) as connection:
        page = Page(connection.addon, lambda accept: (f"for {accept}".encode(), "text/plain"))
        with taddons.context(page) as tctx:
            tctx.configure(page, **({"throttle_listen": ""} | options))
            page.answers_at(Address("127.0.0.1", 8089))
            yield connection, page


def ask(
    page: Page, target: str, client: str = "127.0.0.1", method: str = "GET", **headers: str
) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(page.app, client=(client, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=OWN) as http:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await http.request(method, target, headers=named)

    return asyncio.run(run())


def token_of(page: Page) -> str:
    return str(ask(page, "/api/state").json()["reader"]["token"])


def is_off(page: Page) -> bool:
    return bool(ask(page, "/api/state").json()["rules"][0]["switched_off"])


def test_every_answer_keeps_other_sites_away() -> None:
    with page_of() as (_, page):
        for target in ("/", "/page.js", "/page.css", "/api/state", "/api/policy", "/metrics",
                       "/proxy.pac", "/healthz", "/nothing"):  # fmt: skip
            answer = ask(page, target)
            assert answer.status_code == (404 if target == "/nothing" else 200)
            headers = answer.headers
            assert headers["x-frame-options"] == "DENY"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert not [name for name in headers if name.startswith("access-control-")]


def test_a_refusal_carries_them_too_and_nothing_else() -> None:
    with page_of() as (_, page):
        answer = ask(page, "/api/state", host="evil.example:8089")
        assert answer.status_code == 421
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "photos" not in answer.text
        assert "throttle_page_hosts" in answer.text
        assert ask(page, "/api/state", sec_fetch_site="cross-site").status_code == 403
        assert ask(page, "/nothing", host="evil.example:8089").status_code == 421


def test_there_is_no_other_method() -> None:
    with page_of() as (_, page):
        for method, target in (("OPTIONS", "/api/state"), ("OPTIONS", f"/api/rules/{QUOTED}"),
                               ("GET", f"/api/rules/{QUOTED}"), ("POST", "/"), ("PUT", "/"),
                               ("DELETE", f"/api/rules/{QUOTED}"), ("TRACE", "/")):  # fmt: skip
            assert ask(page, target, method=method).status_code == 405
        assert not is_off(page)


def test_a_rule_is_switched_off_and_on() -> None:
    with page_of() as (connection, page):
        headers = {TOKEN_HEADER: token_of(page)}
        answer = ask(page, f"/api/rules/{QUOTED}?action=disable", method="POST", **headers)
        assert answer.json() == {"rule": RULE, "switched_off": True}
        assert is_off(page)
        assert connection.addon.control.effective().rules == ()
        answer = ask(page, f"/api/rules/{QUOTED}?action=enable", method="POST", **headers)
        assert answer.json() == {"rule": RULE, "switched_off": False}
        assert not is_off(page)


@pytest.mark.parametrize(
    ("client", "headers", "why"),
    [
        ("127.0.0.1", {TOKEN_HEADER: ""}, "is missing"),
        ("127.0.0.1", {TOKEN_HEADER: "another"}, "is missing"),
        ("198.18.0.7", {}, "throttle_page_writers"),
        ("127.0.0.1", {"origin": "http://evil.example"}, "another site"),
        ("127.0.0.1", {"origin": "null"}, "another site"),
        ("127.0.0.1", {"sec_fetch_site": "cross-site"}, "another site"),
        ("127.0.0.1", {"sec_fetch_site": "same-site"}, "another site"),
    ],
)
def test_a_switch_needs_all_that_shows_who_it_is(
    client: str, headers: dict[str, str], why: str
) -> None:
    with page_of() as (_, page):
        answer = ask(
            page,
            f"/api/rules/{QUOTED}?action=disable",
            client,
            "POST",
            **({TOKEN_HEADER: token_of(page)} | headers),
        )
        assert answer.status_code == 403
        assert why in answer.text
        assert not is_off(page)


def test_a_switch_that_cannot_be_says_why() -> None:
    with page_of() as (_, page):
        headers = {TOKEN_HEADER: token_of(page)}
        answer = ask(page, "/api/rules/photo?action=disable", method="POST", **headers)
        assert answer.status_code == 404
        assert "no rule is called `photo`" in answer.json()["error"]
        answer = ask(page, f"/api/rules/{QUOTED}?action=drop", method="POST", **headers)
        assert answer.status_code == 400
        assert "?action=disable" in answer.json()["error"]


def test_writers_are_whom_the_option_names() -> None:
    with page_of(throttle_page_writers=["198.18.0.0/24"]) as (_, page):
        answer = ask(page, "/api/state", "198.18.0.7").json()["reader"]
        assert (answer["may_switch"], answer["sees"]) == (True, "everything")
        answer = ask(page, "/api/state").json()["reader"]
        assert (answer["may_switch"], answer["token"], answer["sees"]) == (False, None, "own")
        assert "198.18.0.0/24 may switch" in answer["why_not"]


def test_another_client_is_told_no_token_and_no_file() -> None:
    with page_of() as (_, page):
        assert ask(page, "/api/state", "198.18.0.7").json()["reader"]["token"] is None
        assert ask(page, "/api/policy", "198.18.0.7").json()["text"] is None


def test_the_state_survives_an_odd_question() -> None:
    with page_of() as (_, page):
        for since in ("", "x", "-1", "1e9", "99999999999999999999", "²"):
            assert ask(page, f"/api/state?since={since}").json()["samples"]["last"] == 0


def test_health_tells_whether_a_policy_is_in_force() -> None:
    with page_of() as (connection, page):
        assert ask(page, "/healthz").status_code == 200
        engine, connection.addon.engine = connection.addon.engine, None
        assert ask(page, "/healthz").status_code == 503
        assert ask(page, "/api/state").json()["hint"]["kind"] == "no-policy"
        connection.addon.engine = engine


def test_metrics_and_their_format() -> None:
    with page_of() as (_, page):
        assert ask(page, "/metrics", accept="x/y").text == "for x/y"


def test_the_settings_file_names_the_proxy_that_was_asked_for() -> None:
    with page_of() as (_, page):
        text = ask(page, "/proxy.pac?proxy=198.18.0.1:8080").text
        assert 'var through = "PROXY 198.18.0.1:8080";' in text
        assert ask(page, '/proxy.pac?proxy=a:1"%3Balert(1)').status_code == 400


def test_the_authority_is_handed_out(tmp_path: Path) -> None:
    with page_of(confdir=str(tmp_path)) as (_, page):
        assert ask(page, "/ca.pem").status_code == 404
        (tmp_path / "mitmproxy-ca-cert.pem").write_text("-----BEGIN CERTIFICATE-----")
        answer = ask(page, "/ca.pem")
        assert answer.text.startswith("-----BEGIN")
        assert answer.headers["content-type"] == "application/x-x509-ca-cert"


# -- through the proxy


def through_proxy(page: Page, **request: object) -> tflow.HTTPFlow:  # type: ignore[name-defined]
    flow = tflow.tflow(req=tutils.treq(host="throttle.proxy", port=80, content=b"", **request))
    flow.request.headers["host"] = "throttle.proxy"
    flow.client_conn.peername = ("127.0.0.1", 50_000)
    flow.live = True
    asyncio.run(page.request(flow))
    return flow


def test_the_proxy_serves_it_under_its_own_name() -> None:
    with page_of() as (_, page):
        answer = through_proxy(page, path=b"/api/state").response
        assert answer.status_code == 200
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        state = answer.json()
        assert state["reader"]["may_switch"]
        assert state["totals"]["requests"] == 0  # the page's own are none
        answer = through_proxy(page, path=b"/", method=b"HEAD").response
        assert (answer.raw_content, int(answer.headers["content-length"]) > 1000) == (b"", True)


def test_a_rule_is_switched_through_the_proxy() -> None:
    with page_of() as (_, page):
        headers = tutils.treq().headers
        headers[TOKEN_HEADER] = token_of(page)
        answer = through_proxy(
            page,
            method=b"POST",
            path=f"/api/rules/{QUOTED}?action=disable".encode(),
            headers=headers,
        ).response
        assert answer.json() == {"rule": RULE, "switched_off": True}


def test_other_hosts_are_left_alone() -> None:
    with page_of() as (_, page):
        flow = tflow.tflow(req=tutils.treq(host="throttle.proxy.example"))
        flow.live = True
        assert page.request(flow) is None
        assert flow.response is None
        assert ask(page, "/api/state").json()["totals"]["requests"] == 1


def test_what_has_just_ended_is_shown() -> None:
    with page_of() as (connection, page):
        connection.addon.observers.tell_later(lambda delay_s, tell: None)
        connection.request("GET http://photos.example/ HTTP/1.1\nHost: photos.example\n\n")
        connection.respond("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
        (row,) = ask(page, "/api/state").json()["decisions"]
        assert (row["outcome"], row["bytes"]) == ("complete", 2)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["127.0.0.1:8089", "10.0.0.7:1", "evil.example", "[::1]:1", ""])
def test_health_is_told_by_any_name(path: str, host: str) -> None:
    """A mapped port, a pod's address: whoever looks after the proxy should not need to know."""
    with page_of() as (connection, page):
        answer = ask(page, path, host=host)
        assert answer.status_code == 200
        known = host == "127.0.0.1:8089"
        assert answer.text.startswith("ok, policy ") if known else answer.text == "ok"
        assert ask(page, path, host=host, sec_fetch_site="cross-site").text == "ok"
        assert ask(page, path, host="evil.example", method="POST").status_code == 421
        connection.addon.engine.stop()
        connection.addon.engine = None
        assert ask(page, path, host=host).status_code == 503
        assert ask(page, "/api/state", host=host).status_code == (200 if known else 421)


@pytest.mark.parametrize("opened", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_what_the_store_or_a_file_says_can_always_be_told(opened: str) -> None:
    """Half a surrogate pair is no UTF-8, and no reason for an error."""
    with page_of() as (connection, page):
        connection.addon.observers.failed("a\udcffb\ud800c\x1b[2J" + "d" * 1_000_000)
        answer = ask(page, "/api/state", client=opened)
        assert answer.status_code == 200
        (failure,) = answer.json()["failures"]
        assert failure["what"].startswith(r"a\xffb\ud800c\x1b[2Jd")
        assert len(failure["what"]) <= 500
