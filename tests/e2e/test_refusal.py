"""A mitmproxy that is not known, an option that cannot be taken: nothing starts, rather than
something that slows nothing, and the reason is a sentence, whichever program was asked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import SCRIPT_PATH

pytestmark = pytest.mark.e2e

OTHER = "from mitmproxy import version; version.VERSION = '99.0.0'; "
WORKER = "from mitmthrottle.fleet.start import main; main()"
RUN = "from mitmthrottle.cli import main; main()"

Ended = tuple[int, str]


def program(name: str) -> str:
    return f"from mitmproxy.tools.main import {name}; {name}()"


def end_of(command: list[str]) -> Ended:
    """Its status, and what it has said."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout


def end_on_terminal(command: list[str]) -> Ended:
    """The same with a terminal for its output, without which mitmproxy's console does not start."""
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", *command],
        stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    said = b""
    try:
        while piece := _read(outer):
            said += piece
        return process.wait(60), said.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(outer)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the last who had it open is gone
        return b""


def settings(*options: str) -> list[str]:
    return [part for option in options for part in ("--set", option)]


def by_script(name: str, confdir: Path, *options: str) -> list[str]:
    given = settings(f"confdir={confdir}", *options)
    return [program(name), "-s", str(SCRIPT_PATH), "-p", "0", *given]


def by_run(confdir: Path, *options: str) -> list[str]:
    given = settings(f"confdir={confdir}", *options)
    return [RUN, "run", "twitter-2021", "-p", "0", *given]


STARTS: dict[str, Callable[..., Ended]] = {
    "mitmdump": lambda *given: end_of(by_script("mitmdump", *given)),
    "mitmweb": lambda *given: end_of(
        [*by_script("mitmweb", *given), *settings("web_port=0", "web_open_browser=false")]
    ),
    "mitmproxy": lambda *given: end_on_terminal(by_script("mitmproxy", *given)),
    "run": lambda *given: end_of(by_run(*given)),
    "workers": lambda *given: end_of([*by_run(*given), "--workers", "2"]),
}


@pytest.mark.parametrize(
    ("start", "before"),
    [(program("mitmdump"), []), (WORKER, ["1", "0", "shared", "1"])],
    ids=["one", "worker"],
)
def test_it_does_not_start(tmp_path: Path, start: str, before: list[str]) -> None:
    options = settings(f"confdir={tmp_path}", "throttle_policy=twitter-2021", "throttle_listen=")
    command = [OTHER + start, *before, "-s", str(SCRIPT_PATH), "-p", "0", *options]
    status, said = end_of(command)
    assert status == 1
    assert "mitmthrottle cannot pace with this mitmproxy: this is mitmproxy 99.0.0" in said
    assert "Traceback" not in said


WRONG = {
    "throttle_quic=blok": "throttle_quic: `blok` is none of its values: did you mean `block`?",
    "throttle_pinned=passthru": "did you mean `passthrough`? it takes `intercept` or `passthrough`",
    "throttle_store_down=opne": "throttle_store_down: `opne` is none of its values: did you mean",
    "throttle_logg=x": "there is no option throttle_logg: did you mean `throttle_log`?",
    "throtle_quic=block": "there is no option throtle_quic: did you mean `throttle_quic`?",
    "throttle_zzz=x": "there is no option throttle_zzz",
    "throttle_listen=fish": "`fish` is no address to listen on",
    "throttle_log=/nonexistent/x": "throttle_log: /nonexistent/x cannot be written: No such file",
    "throttle_log_size=fish": "throttle_log_size: ",
    "throttle_log_files=many": "not an integer: many",
    "throttle_page_writers=fish": "fish",
    "throttle_proxy_protocol=fish": "throttle_proxy_protocol: ",
    "throttle_store=fish": "throttle_store: ",
    "throttle_server_timing=maybe": "Failed to parse option throttle_server_timing",
    "throttle_commands=throttle.rate nobody 1": "throttle_commands: `throttle.rate nobody 1`: ",
}
"""An option that cannot be taken, and what is said of it."""


# mitmdump says it of each; the others, of a choice, a format, a name and what a parser refuses.
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *(("mitmdump", setting) for setting in WRONG),
        *(
            (name, setting)
            for name in ("mitmweb", "mitmproxy", "run", "workers")
            for setting in (
                "throttle_quic=blok", "throttle_log_size=fish", "throttle_logg=x",
                "throttle_server_timing=maybe",
            )
        ),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_taken(tmp_path: Path, name: str, setting: str) -> None:
    given = [setting] if name in ("run", "workers") else [setting, "throttle_policy=twitter-2021"]
    if not setting.startswith("throttle_listen="):
        given.append("throttle_listen=")
    if name == "workers":
        given.append("throttle_store=unix:///nowhere")  # rather than a server of their own
    status, said = STARTS[name](tmp_path, *given)
    assert status == 1, said
    assert WRONG[setting] in said.replace("\r\n", "\n")
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["mitmdump", "mitmweb", "mitmproxy"])
def test_a_policy_that_is_broken(tmp_path: Path, name: str) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("version: 1\nrules: [{when: {hots: x}}]\n")
    status, said = STARTS[name](tmp_path, f"throttle_policy={broken}", "throttle_listen=")
    assert status == 1, said
    assert "broken.yaml:2:17: unknown key `hots`: did you mean `host`?" in said
    assert "Traceback" not in said


def test_an_option_given_twice(tmp_path: Path) -> None:
    status, said = STARTS["run"](tmp_path, "throttle_policy=netflix-sd", "throttle_listen=")
    assert status == 1
    assert "mitmthrottle: Received multiple values for throttle_policy" in said
    assert "Traceback" not in said


def test_what_config_yaml_says_is_looked_at_as_well(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "throttle_listen: 8089\nthrottle_quik: block\nthrottle_pinned: no-way\n"
    )
    status, said = STARTS["mitmdump"](tmp_path)
    assert status == 1
    assert "throttle_listen: 8089 in config.yaml is of another type than '127.0.0.1:8089'" in said
    assert "there is no option throttle_quik: did you mean `throttle_quic`?" in said
    assert "throttle_pinned: `no-way` is none of its values" in said
    assert "Traceback" not in said
