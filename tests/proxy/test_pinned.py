"""Who counts as pinned, and for how long."""

from __future__ import annotations

import pytest
from mitmproxy import connection, options, tls
from mitmproxy.proxy import context
from mitmproxy.proxy.layers.tls import parse_client_hello

from mitmthrottle.proxy import pinned
from mitmthrottle.proxy.pinned import Pinned

from .relayed import client_hello

DISTRUST = "The client does not trust the proxy's certificate for a.example (OpenSSL Error)"
HANG_UP = "The client disconnected during the handshake."


def contact(address: str = "198.18.0.7", name: str | None = "a.example") -> context.Context:
    client = connection.Client(peername=(address, 5000), sockname=("198.18.0.1", 443))
    client.sni = name
    return context.Context(client, options.Options())


def failed(memory: Pinned, ctx: context.Context, error: str, now: float) -> None:
    ctx.client.error = error
    memory.failed(tls.TlsData(ctx.client, ctx), now)


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


def test_who_leaves_before_it_has_seen_our_certificate_has_not_rejected_it() -> None:
    memory = Pinned()
    for now in (0.0, 1.0, 2.0):
        failed(memory, contact(), "connection closed early", now)
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


def test_without_a_name_nothing_is_remembered() -> None:
    memory = Pinned()
    failed(memory, contact(name=None), DISTRUST, 0.0)
    assert len(memory) == 0
    assert not asks(memory, contact(name=None), 1.0)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "MOST_REMEMBERED", 3)
    memory = Pinned()
    for number in range(5):
        failed(memory, contact(name=f"{number}.example"), DISTRUST, float(number))
    assert len(memory) == 3
    assert not asks(memory, contact(name="0.example"), 9.0)
    assert asks(memory, contact(name="4.example"), 9.0)
