"""mitmdump in a process of its own: started, led to the origin, and ended without a trace."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import mitmthrottle.lab.proxy as lab_proxy
from mitmthrottle import PolicyError, PolicySource
from mitmthrottle.lab.client import Fetched, client, fetch
from mitmthrottle.lab.origin import Origin, running_origin
from mitmthrottle.lab.proxy import ProxyDied, ProxyNotStarted, RunningProxy, running_proxy
from mitmthrottle.lab.site import media

HOSTS = ("twitter.com", "pbs.twimg.com")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with running_origin(HOSTS) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(origin: Origin) -> Iterator[RunningProxy]:
    with running_proxy(None, upstream_ca=origin.ca_path, resolve=origin.resolve) as running:
        yield running


def get(proxy: RunningProxy, url: str, *, address: str | None = None, h2: bool = True) -> Fetched:
    async def main() -> Fetched:
        async with client(proxy.url, proxy.ca_path, address=address, h2=h2) as session:
            return await fetch(session, url)

    return asyncio.run(main())


@pytest.mark.parametrize("h2", [True, False])
def test_real_names_lead_to_the_origin(origin: Origin, proxy: RunningProxy, h2: bool) -> None:
    fetched = get(proxy, "https://pbs.twimg.com/photo.jpg", h2=h2)
    assert (fetched.status, fetched.size) == (200, len(media("photo.jpg")))
    assert fetched.http_version == ("HTTP/2" if h2 else "HTTP/1.1")
    # The name survives: a rewritten address would have come with another Host.
    assert origin.requests[-1].host == "pbs.twimg.com"


def test_plain_http_has_its_own_port(origin: Origin, proxy: RunningProxy) -> None:
    fetched = get(proxy, "http://twitter.com/photo.jpg")
    assert fetched.size == len(media("photo.jpg"))
    assert origin.requests[-1].http_version == "1.1"


def test_the_proxy_sees_the_address_that_a_client_has_chosen(proxy: RunningProxy) -> None:
    get(proxy, "https://twitter.com/bytes/10?from=127.0.7.9", address="127.0.7.9")
    assert "127.0.7.9" in proxy.log()


def test_nothing_stays_behind(origin: Origin) -> None:
    with running_proxy(None) as running:
        folder = running.confdir.parent
        assert running.ca_path.exists()
        os.kill(running.pid, 0)  # it is there
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port))


def test_a_proxy_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(ProxyNotStarted, match=r"(?s)ended with status 1.*no-such-mode"),
        running_proxy(None, options=["--mode", "no-such-mode"]),
    ):
        pass


RULE = {"name": "photos", "when": {"host": "cdn.test"}, "then": {"rate": "128 kbit/s"}}
TEXT = "version: 1\nname: of-text\nrules:\n  - then: {rate: 128 kbit/s}\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"name": "of-a-mapping", "rules": [RULE]}, "of-a-mapping, 1 rule"),
        (TEXT, "of-text, 1 rule"),
        ("twitter-2021", "twitter-2021, 2 rules"),
    ],
)
def test_a_policy_may_be_data_text_or_a_name(source: PolicySource, said: str) -> None:
    with running_proxy(source) as throttle:
        assert said in throttle.log()
        assert throttle.policy_path.is_file()
        folder = throttle.confdir.parent
    assert not folder.exists()


def test_a_policy_of_data_is_in_force_and_can_be_edited(origin: Origin) -> None:
    """Blocked, so that what is in force is told by a status and not by a time."""
    blocked = {"rules": [{"name": "all", "when": {"host": "twitter.com"}, "then": {"block": 451}}]}
    with running_proxy(blocked, upstream_ca=origin.ca_path, resolve=origin.resolve) as throttle:
        assert get(throttle, "https://twitter.com/photo.jpg").status == 451
        assert get(throttle, "https://pbs.twimg.com/photo.jpg").status == 200
        throttle.policy_path.write_text(throttle.policy_path.read_text().replace("451", "429"))
        deadline = time.monotonic() + 10
        while (status := get(throttle, "https://twitter.com/photo.jpg").status) == 451:
            assert time.monotonic() < deadline
        assert status == 429


@pytest.mark.parametrize("source", [{"rules": [{"when": {}}]}, "no-such-policy", Path("no.yaml")])
def test_a_broken_policy_is_told_before_anything_starts(
    source: PolicySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(PolicyError), running_proxy(source):
        pass


@pytest.mark.parametrize("policy", [None, "twitter-2021"])
def test_a_program_is_led_through_the_proxy_and_trusts_it(
    origin: Origin, policy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own client, which is told nothing but its environment."""
    monkeypatch.setenv("no_proxy", "twitter.com")  # a developer's own would lead around it
    script = (
        "import urllib.request\n"
        "with urllib.request.urlopen('https://twitter.com/photo.jpg', timeout=20) as answer:\n"
        "    print(len(answer.read()))"
    )
    with running_proxy(policy, upstream_ca=origin.ca_path, resolve=origin.resolve) as proxy:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **proxy.env()}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.stdout.strip() == str(len(media("photo.jpg"))), done.stderr


def test_a_route_that_is_none_is_refused() -> None:
    with (
        pytest.raises(ProxyNotStarted, match=r"HOST\[:PORT\]=ADDRESS:PORT"),
        running_proxy(None, options=["--set", "lab_resolve=nonsense"], resolve={"a": ("b", 1)}),
    ):
        pass


PARENT = """
import json, os, sys, time
from mitmthrottle.lab.proxy import running_proxy
with running_proxy(None) as proxy:
    print(json.dumps([proxy.pid, str(proxy.confdir.parent)]), flush=True)
    if sys.argv[1] == "exit":
        os._exit(3)
    if sys.argv[1] == "fork" and os.fork() == 0:
        time.sleep(60)  # and holds all open that its parent had
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["exit", "kill", "terminate", "fork"])
def test_it_ends_with_its_parent(how: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert parent.stdout is not None
        pid, folder = json.loads(parent.stdout.readline())
        if how == "terminate":
            parent.terminate()
        elif how != "exit":
            parent.kill()
        parent.wait(10)
        assert gone(pid, folder, within_s=10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()


def test_it_ends_with_a_parent_that_dies_while_it_starts(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    child = Path(lab_proxy.__file__).with_name("child.py")
    process = subprocess.Popen(
        [sys.executable, "-P", str(child), str(folder), "--listen-port", "0",
         "--set", f"confdir={folder / 'conf'}"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(10)
    finally:
        process.kill()
        process.wait()
    assert not folder.exists()


def gone(pid: int, folder: str, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                time.sleep(0.05)
                continue
        if not Path(folder).exists():
            return True
        time.sleep(0.05)
    return False


def killed_within_the_block(error: Exception | None = None) -> None:
    with running_proxy(None) as running:
        os.kill(running.pid, signal.SIGKILL)
        wait_until_it_listens_no_more(running.port)
        if error is not None:
            raise error


def test_a_proxy_that_dies_says_so_at_the_end_of_the_block() -> None:
    said = r"(?s)the proxy ended with signal 9; its last lines:.*listening at"
    with pytest.raises(ProxyDied, match=said):
        killed_within_the_block()


def test_what_the_block_itself_raises_is_kept_and_gets_a_note() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        killed_within_the_block(ZeroDivisionError())
    assert "the proxy ended with signal 9; its last lines:" in raised.value.__notes__[0]


def test_one_that_was_asked_to_end_has_not_died() -> None:
    with running_proxy(None) as running:
        os.kill(running.pid, signal.SIGTERM)
        wait_until_it_listens_no_more(running.port)
        time.sleep(1.0)


def wait_until_it_listens_no_more(port: int) -> None:
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.01)
    raise TimeoutError(port)


def test_modules_of_the_working_folder_do_not_come_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("redis.py", "policy.py", "click.py", "store.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the working folder')\n")
    monkeypatch.chdir(tmp_path)
    with running_proxy("twitter-2021") as running:
        assert "twitter-2021, 2 rules" in running.log()


@pytest.mark.parametrize(("given", "at_once"), [((), True), (("stream_large_bodies",), False)])
def test_what_no_rule_matches_is_passed_on_as_it_comes(
    given: tuple[str, ...], at_once: bool
) -> None:
    """As `mitmthrottle run` does: a stream of events is of no use at its end."""
    options = [part for option in given for part in ("--set", option)]
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        running_proxy(
            "twitter-2021", options=options, resolve={"*": listener.getsockname()}
        ) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=10) as client,
    ):
        client.sendall(
            b"GET http://events.example.org/ HTTP/1.1\r\nHost: events.example.org\r\n\r\n"
        )
        origin, _ = listener.accept()
        with origin:
            origin.recv(65536)
            origin.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
            )
            client.settimeout(1.0)
            got = b""
            with contextlib.suppress(TimeoutError):
                while b"data: 1" not in got:
                    got += client.recv(65536)
            assert (b"data: 1" in got) is at_once
