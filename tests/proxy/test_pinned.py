"""Who counts as pinned, and for how long."""

from __future__ import annotations

from typing import Literal

import pytest
from mitmproxy import connection, options, tls
from mitmproxy.proxy import context
from mitmproxy.proxy.layers.tls import parse_client_hello

from mitmthrottle.proxy.mitm import pinned
from mitmthrottle.proxy.mitm.pinned import Pinned

from .relayed import client_hello

DISTRUST = "The client does not trust the proxy's certificate for a.example (OpenSSL Error)"
# All of what mitmproxy says, which begins otherwise and goes on like the above.
HANG_UP = (
    "The client disconnected during the handshake. If this happens consistently for a.example, "
    "this may indicate that the client does not trust the proxy's certificate."
)


def contact(
    address: str = "198.18.0.7",
    name: str | None = "a.example",
    *,
    dialled: str | None = "198.18.1.2",
    transport: Literal["tcp", "udp"] = "tcp",
) -> context.Context:
    client = connection.Client(
        peername=(address, 5000), sockname=("198.18.0.1", 443), transport_protocol=transport
    )
    client.sni = name
    ctx = context.Context(client, options.Options())
    ctx.server.address = (dialled, 443) if dialled else None
    return ctx


def failed(memory: Pinned, ctx: context.Context, error: str, now: float) -> None:
    ctx.client.error = error
    memory.failed(tls.TlsData(ctx.client, ctx), now)


def established(memory: Pinned, ctx: context.Context, now: float) -> None:
    memory.established(tls.TlsData(ctx.client, ctx), now)


def asks(memory: Pinned, ctx: context.Context, now: float) -> bool:
    hello = parse_client_hello(client_hello("a.example"))
    assert hello is not None
    return memory.is_pinned(tls.ClientHelloData(ctx, hello), now)


def test_who_says_that_it_does_not_trust_us_is_believed() -> None:
    memory = Pinned()
    assert not asks(memory, contact(), 0.0)
    failed(memory, contact(), DISTRUST, 0.0)
    assert asks(memory, contact(), 1.0)
    assert asks(memory, contact(name="A.example"), 1.0)


def test_who_only_hangs_up_is_believed_the_second_time() -> None:
    memory = Pinned()
    failed(memory, contact(), HANG_UP, 0.0)
    assert not asks(memory, contact(), 1.0)
    failed(memory, contact(), HANG_UP, 2.0)
    assert asks(memory, contact(), 3.0)


def test_who_talks_to_us_in_between_has_hung_up_for_another_reason() -> None:
    memory = Pinned()
    for now in (0.0, 10.0, 20.0):
        failed(memory, contact(), HANG_UP, now)
        talk = contact()
        established(memory, talk, now + 1)
        memory.spoke(talk.client)
        memory.gone(talk.client, now + 2)
        assert not asks(memory, contact(), now + 3)
    assert len(memory) == 0


def test_who_has_said_so_is_believed_though_another_app_of_the_device_trusts_us() -> None:
    memory = Pinned()
    browser = contact()
    established(memory, browser, 0.0)
    failed(memory, contact(), DISTRUST, 1.0)
    memory.spoke(browser.client)
    assert asks(memory, contact(), 2.0)


def test_who_finishes_the_handshake_and_leaves_without_a_word_has_rejected_us() -> None:
    """As apps do that look at the certificate afterwards."""
    memory = Pinned()
    for now in (0.0, 5.0):
        assert not asks(memory, contact(), now)
        app = contact()
        established(memory, app, now)
        memory.gone(app.client, now + 0.3)
    assert asks(memory, contact(), 6.0)


def test_a_connection_that_a_browser_has_opened_in_advance_and_not_used_is_no_rejection() -> None:
    memory = Pinned()
    for now in (0.0, 20.0, 40.0):
        unused = contact()
        established(memory, unused, now)
        memory.gone(unused.client, now + 10.0)
    assert not asks(memory, contact(), 60.0)
    assert len(memory) == 0


def test_hang_ups_long_ago_do_not_add_up() -> None:
    memory = Pinned()
    failed(memory, contact(), HANG_UP, 0.0)
    failed(memory, contact(), HANG_UP, pinned.FORGET_AFTER_S + 1)
    assert not asks(memory, contact(), pinned.FORGET_AFTER_S + 2)


@pytest.mark.parametrize("error", ["connection closed early", "Cannot parse ClientHello: 1603"])
def test_who_has_not_seen_our_certificate_has_not_rejected_it(error: str) -> None:
    memory = Pinned()
    for now in (0.0, 1.0, 2.0):
        failed(memory, contact(), error, now)
    assert not asks(memory, contact(), 3.0)


def test_other_clients_and_other_hosts_are_not_concerned() -> None:
    memory = Pinned()
    failed(memory, contact(), DISTRUST, 0.0)
    assert not asks(memory, contact("198.18.0.8"), 1.0)
    assert not asks(memory, contact(name="b.example"), 1.0)


def test_forgotten_after_an_hour_without_another_rejection() -> None:
    memory = Pinned()
    failed(memory, contact(), DISTRUST, 0.0)
    assert asks(memory, contact(), pinned.FORGET_AFTER_S - 1)
    assert not asks(memory, contact(), pinned.FORGET_AFTER_S + 1)


def test_what_is_too_long_ago_is_not_kept() -> None:
    memory = Pinned()
    for number in range(3):
        failed(memory, contact(name=f"{number}.example"), DISTRUST, float(number))
    failed(memory, contact(name="new.example"), DISTRUST, pinned.FORGET_AFTER_S + 10)
    assert len(memory) == 1


def test_without_a_name_it_is_the_address_that_was_dialled() -> None:
    memory = Pinned()
    failed(memory, contact(name=None), DISTRUST, 0.0)
    assert asks(memory, contact(name=None), 1.0)
    assert not asks(memory, contact(name=None, dialled="198.18.1.3"), 1.0)


@pytest.mark.parametrize("why", ["the TLS of an HTTPS proxy itself", "QUIC"])
def test_who_could_not_be_let_through_is_not_remembered(why: str) -> None:
    def who() -> context.Context:
        return contact(transport="udp") if why == "QUIC" else contact(dialled=None)

    memory = Pinned()
    failed(memory, who(), DISTRUST, 0.0)
    failed(memory, contact(), DISTRUST, 0.0)
    assert not asks(memory, who(), 1.0)
    assert asks(memory, contact(), 1.0)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "MOST_REMEMBERED", 3)
    memory = Pinned()
    for number in range(5):
        failed(memory, contact(name=f"{number}.example"), DISTRUST, float(number))
    assert len(memory) == 3
    assert not asks(memory, contact(name="0.example"), 9.0)
    assert asks(memory, contact(name="4.example"), 9.0)
