"""Who gets in: names, origins, fetch metadata, clients, tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mitmthrottle.watch.page.access import (
    DEFAULT_WRITERS,
    TOKEN_HEADER,
    Access,
    Visit,
    names_for,
    parse_name,
    parse_writers,
    split_host,
)

TOKEN = "a-token"
ACCESS = Access(
    TOKEN, names_for("127.0.0.1", 8089, ["lab.example:18089"]), parse_writers(DEFAULT_WRITERS)
)
PLAIN = Visit("listener", "GET", "/", "http", ("127.0.0.1:8089",), "127.0.0.1", {})
PROXIED = replace(PLAIN, way="proxy", hosts=("throttle.proxy",))


def status(visit: Visit) -> int | None:
    refusal = ACCESS.refusal(visit)
    return refusal.status if refusal else None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8089", None),
        ("localhost:8089", None),
        ("LOCALHOST:8089", None),
        ("localhost.:8089", None),
        ("[::1]:8089", None),
        ("lab.example:18089", None),
        ("localhost", 421),  # port 80, where we are not
        ("127.0.0.1:8080", 421),
        ("lab.example:8089", 421),
        ("lab.example", 421),
        ("evil.example:8089", 421),  # a name that was made to point here
        ("127.0.0.1.evil.example:8089", 421),
        ("localhost.evil.example:8089", 421),
        ("throttle.proxy", 421),  # only through the proxy
        ("throttle.proxy:8089", 421),
        ("127.1:8089", 421),
        ("127.0.0.1:8089@evil.example", 421),
        ("127.0.0.1:8089:8089", 421),
        ("", 421),
        ("0.0.0.0:8089", 421),
    ],
)
def test_the_listener_answers_under_its_own_names(host: str, expected: int | None) -> None:
    assert status(replace(PLAIN, hosts=(host,))) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("throttle.proxy", None),
        ("Throttle.Proxy:80", None),
        ("throttle.proxy:443", None),
        ("127.0.0.1:8089", 421),
        ("evil.example", 421),
    ],
)
def test_the_proxy_answers_under_one_name(host: str, expected: int | None) -> None:
    assert status(replace(PROXIED, hosts=(host,))) == expected


def test_two_hosts_or_none_are_refused() -> None:
    assert status(replace(PLAIN, hosts=())) == 400
    assert status(replace(PLAIN, hosts=("127.0.0.1:8089", "evil.example"))) == 400


def test_a_name_without_a_port_is_known_under_any() -> None:
    access = replace(ACCESS, names=names_for("0.0.0.0", 8089, ["lab.example"]))
    for host in ("lab.example", "lab.example:8089", "lab.example:18089"):
        assert access.refusal(replace(PLAIN, hosts=(host,))) is None
    assert access.refusal(replace(PLAIN, hosts=("0.0.0.0:8089",))) is not None


def test_an_address_that_was_asked_for_is_a_name_too() -> None:
    assert "198.18.0.5:8089" in names_for("198.18.0.5", 8089, [])
    assert "[2001:db8::5]:8089" in names_for("2001:db8::5", 8089, [])


@pytest.mark.parametrize("visit", [PLAIN, PROXIED])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"sec-fetch-site": "none"}, None),
        ({"sec-fetch-site": "same-origin"}, None),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),  # another port of localhost is the same site
        ({"sec-fetch-site": "nonsense"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        (
            {
                "sec-fetch-site": "cross-site",
                "sec-fetch-mode": "navigate",
                "sec-fetch-dest": "iframe",
            },
            403,
        ),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:3000"}, 403),
    ],
)
def test_pages_of_other_sites_get_nothing(
    visit: Visit, headers: dict[str, str], expected: int | None
) -> None:
    assert status(replace(visit, headers=headers)) == expected


def test_our_own_origin_is_no_other() -> None:
    assert status(replace(PLAIN, headers={"origin": "http://127.0.0.1:8089"})) is None
    assert status(replace(PROXIED, headers={"origin": "http://throttle.proxy"})) is None
    assert status(replace(PROXIED, headers={"origin": "https://throttle.proxy"})) == 403
    assert status(replace(PLAIN, headers={"origin": "http://localhost:8089"})) == 403


def test_a_link_leads_to_the_page_and_nowhere_else() -> None:
    headers = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    link = replace(PLAIN, headers=headers)
    assert status(link) is None
    assert status(replace(link, path="/api/state")) == 403
    assert status(replace(link, path="/ca.pem")) == 403
    assert status(replace(link, method="POST")) == 403


def test_whoever_comes_through_the_proxy_to_the_listener_is_nobody() -> None:
    assert status(replace(PLAIN, by_ourselves=True)) == 403


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("198.18.0.7", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("a-socket", False),
        (None, False),
    ],
)
def test_only_loopback_clients_are_trusted_by_default(client: str | None, expected: bool) -> None:
    visit = replace(PLAIN, client=client, headers={TOKEN_HEADER: TOKEN})
    assert ACCESS.trusts(visit) is expected
    assert (ACCESS.refusal_to_switch(visit) is None) is expected


@pytest.mark.parametrize("client", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "0.0.0.0"])
def test_nobody_becomes_local_by_what_is_said_of_them(client: str) -> None:
    visit = replace(PROXIED, client=client, hearsay=True, headers={TOKEN_HEADER: TOKEN})
    assert not ACCESS.trusts(visit)
    refusal = ACCESS.refusal_to_switch(visit)
    assert refusal is not None
    assert "as a balancer or a tunnel says" in refusal.why


def test_a_writer_of_another_machine_may_come_through_a_balancer() -> None:
    access = replace(ACCESS, writers=parse_writers(["198.18.0.0/15"]))
    assert access.trusts(replace(PROXIED, client="::ffff:198.18.0.7", hearsay=True))


@pytest.mark.parametrize("token", [None, "", "a-tokem", "A-TOKEN", "a-token ", "ä-token"])
def test_a_switch_needs_the_token_of_this_start(token: str | None) -> None:
    headers = {} if token is None else {TOKEN_HEADER: token}
    refusal = ACCESS.refusal_to_switch(replace(PLAIN, headers=headers))
    assert refusal is not None
    assert refusal.status == 403
    assert "reader.token" in refusal.why


def test_nobody_may_switch_where_nobody_was_named() -> None:
    access = replace(ACCESS, writers=())
    refusal = access.refusal_to_switch(replace(PLAIN, headers={TOKEN_HEADER: TOKEN}))
    assert refusal is not None
    assert "nobody may switch" in refusal.why


def test_the_token_is_not_printed() -> None:
    assert TOKEN not in repr(ACCESS)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.example", ("a.example", None)),
        ("A.example.:80", ("a.example", 80)),
        ("[::1]", ("[::1]", None)),
        ("[::1]:8089", ("[::1]", 8089)),
        ("a:99999999", ("a:99999999", None)),
        ("a:b", ("a:b", None)),
        (":80", ("", 80)),
    ],
)
def test_a_host_header_is_split(host: str, expected: tuple[str, int | None]) -> None:
    assert split_host(host) == expected


@pytest.mark.parametrize("text", ["", "http://lab.example", "a/b", "*.example", "a b", "a:b:c"])
def test_what_is_no_name_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"write `lab\.example`"):
        parse_name(text)


@pytest.mark.parametrize("text", ["", "lab", "10.0.0.0/33", "10.0.0.1/8"])
def test_what_is_no_network_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"write `192\.168\.1\.0/24`"):
        parse_writers([text])
