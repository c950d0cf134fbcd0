"""The header that developer tools show."""

from __future__ import annotations

import re

import pytest
from mitmproxy import http

from mitmthrottle.proxy.observe import server_timing

from .playbook import Wire, wire
from .test_http_stream import BODY, GET, HEAD_20K, SLOW, with_effect

# A list of metrics as RFC 9110 and the W3C's Server Timing have it, for one header line.
METRIC = r'[!#$%&\'*+.^_`|~0-9A-Za-z-]+(;(desc="([^"\\]|\\["\\])*"|dur=[0-9.]+))*'
LINE = re.compile(rf"{METRIC}(, {METRIC})*")


def fetched(w: Wire, head: str = HEAD_20K) -> str:
    w.engine.server_timing = True
    w.request(GET)
    w.respond(head)
    w.respond(BODY)
    w.pass_time(3)
    return w.received().partition(b"\r\n\r\n")[0].decode()


def test_a_slowed_response_says_so_where_asked() -> None:
    with wire(with_effect("rate: 8 kB/s, delay: 300 ms")) as w:
        head = fetched(w)
        expected = (
            'Server-Timing: throttle;desc="photos";dur=300.0, throttle-asked;desc="64 kbit/s"'
        )
        assert expected in head
        w.pass_time(1)
        assert w.body() == BODY


def test_others_do_not() -> None:
    with wire(SLOW) as w:
        assert "server-timing" not in fetched(w, HEAD_20K.replace("image/jpeg", "text/css")).lower()


def test_nobody_does_unasked() -> None:
    with wire(SLOW) as w:
        w.request(GET)
        w.respond(HEAD_20K)
        assert b"server-timing" not in w.received().lower()


def test_what_the_origin_said_stays() -> None:
    with wire(SLOW) as w:
        head = fetched(w, HEAD_20K[:-1] + "Server-Timing: db;dur=53\n\n")
        assert re.findall(r"(?m)^server-timing: (.*?)\r?$", head, re.I)[0] == "db;dur=53"
        assert head.lower().count("server-timing") == 2


def test_a_response_of_ours_says_so_too() -> None:
    with wire(with_effect("block: 451", "host: .slow.example")) as w:
        w.engine.server_timing = True
        w.request(GET)
        assert b'throttle;desc="photos"' in w.received()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('the "large" ones', r"the \"large\" ones"),
        ("back\\slash", r"back\\slash"),
        ("two\r\nSet-Cookie: a=b", "two%0D%0ASet-Cookie: a=b"),
        ("фото", "%D1%84%D0%BE%D1%82%D0%BE"),
        ("50% of all; dur=1, x", "50% of all; dur=1, x"),
        ("\x00\x7f\ud800", "%00%7F%ED%A0%80"),
    ],
)
def test_no_rule_can_end_the_header(name: str, shown: str) -> None:
    headers = http.Headers()
    server_timing.add_start(headers, name, 8000, 0.0)
    value = headers["server-timing"]
    assert f'desc="{shown}"' in value
    assert LINE.fullmatch(value)


def test_a_long_name_is_cut() -> None:
    headers = http.Headers()
    server_timing.add_start(headers, "a" * 100_000, None, 0.0)
    assert len(headers["server-timing"]) < 300
