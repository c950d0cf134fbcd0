"""The proxy in a process of its own, for the length of a `with` block: mitmdump with a
policy, or bare for comparison.

Rule: it is started as a user would start it, by script and options, with this interpreter;
it is ended by its process id, or ends by itself when this process is gone, however that ends; and
nothing of it stays behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from mitmthrottle.source import PolicySource, policy_file

SCRIPT_PATH = Path(__file__).parents[1] / "script.py"
"""What `mitmdump -s` loads. Found by its place: importing it would import mitmproxy here."""

_HERE = Path(__file__).parent
_START_S = 30.0  # making mitmproxy's authority takes a second or two on a slow machine
_STOP_S = 5.0
_TAIL_LINES = 20


class ProxyFailed(RuntimeError):
    """A proxy that cannot be used: it did not start (`ProxyNotStarted`) or died (`ProxyDied`)."""


class ProxyNotStarted(ProxyFailed):
    """The proxy ended, or did not listen in time; the message ends with its last lines."""


class ProxyDied(ProxyFailed):
    """The proxy ended within the block, and not in order; the message ends with its last lines."""


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A proxy that accepts connections."""

    port: int
    """that it listens on"""
    pid: int
    """of its process"""
    log_path: Path
    """file that it prints to"""
    confdir: Path
    """mitmproxy's own folder, made for this run"""

    @property
    def url(self) -> str:
        """What a client is to be told, as `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ca_path(self) -> Path:
        """PEM file of the authority that the proxy signs with; what a client must trust."""
        return self.confdir / "mitmproxy-ca-cert.pem"

    @property
    def running(self) -> bool:
        """Whether it has not ended meanwhile. To be asked by the process that started it."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def log(self) -> str:
        """What the proxy has printed so far."""
        return self.log_path.read_text(errors="replace")

    def env(self) -> dict[str, str]:
        """Variables that lead a program through the proxy and make it trust its authority: curl,
        git, Python's ssl, requests and httpx, Node.js and Go read them. Add them to the program's
        environment: `subprocess.run(command, env={**os.environ, **throttle.env()})`.

        Programs that are told so trust no other authority meanwhile, and no host is excepted.
        """
        authority = str(self.ca_path)
        proxies = {"http_proxy": self.url, "https_proxy": self.url, "no_proxy": ""}
        return {
            **proxies,
            **{name.upper(): value for name, value in proxies.items()},
            "SSL_CERT_FILE": authority,
            "REQUESTS_CA_BUNDLE": authority,
            "CURL_CA_BUNDLE": authority,
            "GIT_SSL_CAINFO": authority,
            "NODE_EXTRA_CA_CERTS": authority,
            "NODE_USE_ENV_PROXY": "1",
        }


@dataclass(frozen=True, slots=True)
class Throttle(RunningProxy):
    """A proxy that throttles as its policy says, for as long as the block of `running_proxy` lasts.

    `url`, `ca_path` and `env()` are what a client needs.
    """

    policy_path: Path
    """the policy's file; a new version takes over within a second, for what is under way too"""


@overload
def running_proxy(
    policy: None,
    *,
    options: Sequence[str] = (),
    upstream_ca: Path | None = None,
    resolve: Mapping[str, tuple[str, int]] | None = None,
    listen_host: str = "127.0.0.1",
) -> AbstractContextManager[RunningProxy]: ...


@overload
def running_proxy(
    policy: PolicySource,
    *,
    options: Sequence[str] = (),
    upstream_ca: Path | None = None,
    resolve: Mapping[str, tuple[str, int]] | None = None,
    listen_host: str = "127.0.0.1",
) -> AbstractContextManager[Throttle]: ...


@contextlib.contextmanager
def running_proxy(
    policy: PolicySource | None,
    *,
    options: Sequence[str] = (),
    upstream_ca: Path | None = None,
    resolve: Mapping[str, tuple[str, int]] | None = None,
    listen_host: str = "127.0.0.1",
) -> Iterator[Any]:
    """Run a throttling proxy until the block ends: mitmdump in a process of its own.

    `policy` is what `load_policy` takes: a path, the name of a shipped policy, YAML text, a
    mapping. None runs mitmdump without the throttle, for comparison.
    `options` are more of mitmdump's own (`["--set", "http2=false"]`). `upstream_ca` is the
    authority (PEM) to trust towards origins. `resolve` sends hosts elsewhere: `{"twitter.com":
    ("127.0.0.1", 8443)}`, with a port in the key (`"twitter.com:80"`) for that port only,
    `*` for every host; the origin's SNI and Host stay what they were. `listen_host` is the address
    to listen on; the system chooses the port.

    When the block begins, the port accepts connections and the policy is in force. What no rule
    matches is passed on as it comes, as with `mitmthrottle run`, unless `options` say otherwise of
    `stream_large_bodies`; without a policy, mitmdump collects each body. The proxy ends with the
    block, and with this process, however that ends; its temporary folder goes with it.

    Raises PolicyError and TypeError as `load_policy` does; ProxyNotStarted; and ProxyDied at the
    end of the block, if the proxy has ended with another status than 0 meanwhile. An exception of
    the block itself gets that as a note.

    A test suite can ask whether its page bears a slow network:

        with (
            running_origin(["twitter.com", "pbs.twimg.com"]) as origin,
            running_proxy("twitter-2021", upstream_ca=origin.ca_path,
                          resolve=origin.resolve) as throttle,
        ):
            trust = ssl.create_default_context(cafile=throttle.ca_path)
            with httpx.Client(proxy=throttle.url, verify=trust) as phone:
                phone.get("https://pbs.twimg.com/photo.jpg", headers={"user-agent": IPHONE})
    """
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-proxy-") as folder:
        confdir, log_path, ready = (Path(folder, name) for name in ("conf", "log", "port"))
        arguments = [
            *("--listen-host", listen_host, "--listen-port", "0"),
            *("--set", f"confdir={confdir}"),
            *("-s", str(_HERE / "ready.py"), "--set", f"lab_ready={ready}"),
        ]
        if upstream_ca is not None:
            arguments += ["--set", f"ssl_verify_upstream_trusted_ca={upstream_ca}"]
        if resolve:
            arguments += ["-s", str(_HERE / "resolve.py")]
            for name, (address, port) in resolve.items():
                arguments += ["--set", f"lab_resolve={name}={address}:{port}"]
        policy_path = None if policy is None else policy_file(policy, Path(folder))
        if policy_path is not None:
            arguments += ["-s", str(SCRIPT_PATH), "--set", f"throttle_policy={policy_path}"]
            if not _is_set("throttle_listen", options):
                # Proxies that run at the same time would quarrel over the page's port.
                arguments += ["--set", "throttle_listen="]
            if not _is_set("stream_large_bodies", options):
                arguments += ["--set", "stream_large_bodies=1"]
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                # -P: a module of the working folder must not stand in for one that we import.
                [sys.executable, "-P", str(_HERE / "child.py"), folder, *arguments, *options],
                stdin=subprocess.PIPE,  # its end tells the proxy that we are gone
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        try:
            port = _wait_for_port(process, ready, log_path)
            try:
                if policy_path is None:
                    yield RunningProxy(port, process.pid, log_path, confdir)
                else:
                    yield Throttle(port, process.pid, log_path, confdir, policy_path)
            except BaseException as error:
                if died := _death(process, log_path):
                    error.add_note(died)
                raise
            if died := _death(process, log_path):
                raise ProxyDied(died)
        finally:
            _end(process)


def _is_set(name: str, options: Sequence[str]) -> bool:
    return any(option.removeprefix("--set=").partition("=")[0] == name for option in options)


def _wait_for_port(process: subprocess.Popen[bytes], ready: Path, log_path: Path) -> int:
    deadline = time.monotonic() + _START_S
    while not ready.exists():
        if process.poll() is not None:
            reason = f"mitmdump ended with {_shown(process.returncode)}"
        elif time.monotonic() > deadline:
            reason = f"mitmdump did not listen within {_START_S:.0f} s"
        else:
            time.sleep(0.02)
            continue
        raise ProxyNotStarted(_with_last_lines(reason, log_path))
    return int(ready.read_text())


def _death(process: subprocess.Popen[bytes], log_path: Path) -> str:
    """End it, and say what there is to say of one that had ended by itself; nothing if it ran, or
    had been asked to end."""
    status = process.poll()
    if status is None:
        # One that was killed a moment ago may not be gone yet; its status tells it afterwards.
        forced = _end(process)
        by_signal = process.returncode < 0 and process.returncode != -signal.SIGTERM
        status = process.returncode if by_signal and not forced else 0
    if status == 0:
        return ""
    return _with_last_lines(f"the proxy ended with {_shown(status)}", log_path)


def _shown(status: int) -> str:
    return f"status {status}" if status >= 0 else f"signal {-status}"


def _with_last_lines(reason: str, log_path: Path) -> str:
    tail = log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join([f"{reason}; its last lines:", *tail])


def _end(process: subprocess.Popen[bytes]) -> bool:
    """End it in order; True: it had to be killed."""
    process.terminate()
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False
