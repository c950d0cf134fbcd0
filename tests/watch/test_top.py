"""`mitmthrottle top`: a frame as text, and what it says when there is nothing to show."""

from __future__ import annotations

import http.server
import io
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from rich.console import Console

from mitmthrottle.cli import main
from mitmthrottle.watch.page.api import State
from mitmthrottle.watch.top import frame, plot, printable, rate

from .test_state import POLICY, TEXT, TRUSTED, seen

PHOTO = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 64000\r\n\r\n"


def a_state() -> State:
    with seen(POLICY) as see:
        see.page_state.looked_at()
        see.get("http://elsewhere.example/", TEXT)
        see.get("http://photos.example/a.jpg", PHOTO + bytes(64000))
        for _ in range(3):
            see.wire.pass_time(1)
            see.sample()
        see.wire.addon.control.disable("at night", "")
        return see.state(TRUSTED)


def text_of(state: State, lost: str = "") -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(frame(state, lost))
    return out.getvalue()


@contextmanager
def serving(answer: bytes, status: int = 200) -> Iterator[str]:
    """An HTTP server on loopback that says this to everybody."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_frame_tells_what_each_rule_does() -> None:
    text = text_of(a_state())
    lines = text.splitlines()
    assert "seen (policy.yaml)" in lines[0]
    assert "1 slowed now" in lines[0]
    photos = next(line for line in lines if line.startswith("photos "))
    assert "128 kbit/s per response" in photos
    assert photos.count("128 kbit/s") >= 2
    assert "█" in photos
    assert "(stage 1 of 2)" in text
    assert any("at night" in line and "switched off" in line for line in lines)
    assert "photos.example/a.jpg" in text
    assert re.search(r"7[4-7]% of 64 kB", text)
    assert "no rule is for the host elsewhere.example" in text


def test_a_lost_proxy_is_said_over_the_last_frame() -> None:
    assert "No answer, this is old: gone" in text_of(a_state(), "gone")


def test_a_hint_and_a_refused_version_are_said() -> None:
    with seen(POLICY) as see:
        state = see.state()
    assert "No request has come through the proxy yet" in text_of(state)
    assert state["policy"] is not None
    state["policy"]["refused"] = {"time": 0.0, "faults": ["p.yaml:1:1: no"]}
    assert "p.yaml:1:1: no" in text_of(state)


def test_a_terminal_obeys_no_client() -> None:
    state = a_state()
    state["active"][0]["path"] = "/\x1b[2J\x1b]0;title\x07[bold]x\u202e\n"
    state["decisions"][0]["reason"] = "\x9b31m"
    state["rules"][0]["name"] = "[red]photos[/red]\x1b[0m"
    text = text_of(state)
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert "[bold]x" in text
    assert "[red]photos[/red]" in text.replace("\n", "")


@pytest.mark.parametrize(
    ("bytes_per_s", "expected"),
    [(None, "no limit"), (0, "0 bit/s"), (16_000, "128 kbit/s"), (125_000, "1 Mbit/s"),
     (124_999.9, "1 Mbit/s"), (1.25e9, "10 Gbit/s")],
)  # fmt: skip
def test_rates_have_three_digits(bytes_per_s: float | None, expected: str) -> None:
    assert rate(bytes_per_s) == expected


def test_a_plot_is_full_where_all_that_was_asked_came() -> None:
    assert plot([], []) == ""
    assert plot([0.0, 50.0, 100.0], [100.0, 100.0, 100.0]) == " ▄█"
    assert plot([1.0], [100.0]) == "▁"  # something is not nothing
    assert plot([500.0, 100.0], [None, 100.0]) == "██"
    assert plot([50.0, 100.0], [None, None]) == "▄█"


def test_what_is_not_printable_is_replaced() -> None:
    assert printable("a\x00b\tc é") == "a\\x00b\\x09c é"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["top", *arguments])
    assert not result.exception or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_once_prints_a_frame() -> None:
    with serving(json.dumps(a_state()).encode()) as url:
        status, output = run(url, "--once")
        assert status == 0
        assert "128 kbit/s per response" in output
        assert run(url.removeprefix("http://")) == (0, output)  # no terminal: once, too


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, output = run(f"127.0.0.1:{port}")
    assert status == 1
    assert f"no live page answers at 127.0.0.1:{port}" in output
    assert "mitmthrottle run POLICY" in output


@pytest.mark.parametrize("url", ["foo bar", "ftp://a", "http://[", "http://", "http://a:b c"])
def test_what_is_no_address(url: str) -> None:
    status, output = run(url)
    assert status == 1
    assert "is no address of a live page: write `http://127.0.0.1:8089`" in output


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b"\xff\xfe", b'{"rules": []}'])
def test_somebody_else_listens(answer: bytes) -> None:
    with serving(answer) as url:
        status, output = run(url)
    assert status == 1
    assert "is no live page of mitmthrottle" in output


def test_a_refusal_is_passed_on() -> None:
    with serving(b"421: open http://throttle.proxy/", 421) as url:
        status, output = run(url)
    assert status == 1
    assert "421: open http://throttle.proxy/" in output
