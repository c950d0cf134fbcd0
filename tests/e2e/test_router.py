"""A home router as docs/transparent.md has it, in steps that are read out of the page: a device, a
machine with systemd that becomes the router, and the internet.

    device 198.18.0.2 -- 198.18.0.1 machine 198.18.1.1 -- 198.18.1.2 internet

The internet knows no way back to the device, so what is not masqueraded gets no answer. The device
trusts the proxy's authority or the origin's, never both, which tells who has answered.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mitmthrottle.lab import netns
from mitmthrottle.lab.netns import CLIENT, ORIGIN, Net, inside
from mitmthrottle.lab.origin import Origin
from mitmthrottle.lab.transparent import served

from .figures import Figures
from .machine import ROOT, Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

RATE = 32_000
AT_ONCE_S = 2.0  # at the rate it is three seconds, or thirty
VIDEO, LESSON, FREE = "rr1.googlevideo.com", "cdn.khanacademy.org", "www.example.org"
HOSTS = (VIDEO, LESSON, FREE, "www.tiktok.com", "scontent.cdninstagram.com", "modem.example")
PHOTO = "/bytes/96000?type=image/jpeg"
TEXT = "/bytes/1000000?type=application/json"
ROUTER = "198.18.0.1"
OUTSIDE = ("198.18.1.1", "2001:2:0:2::1")
BROTHER = "198.18.0.3"
"""Another device: the address is the device's second one."""
OWN, OWN_ROUTER = "2001:2:0:8::2", "2001:2:0:8::1"
"""Addresses that nobody routes: 2001:2:0:8::/64 stands for fc00::/7."""
MODEM = "198.19.0.1"
"""A private address: 198.19.0.0/16 stands for 192.168.0.0/16."""
TABLE = ("inet", "mitmthrottle")
GET = f"GET /style.css HTTP/1.1\r\nHost: {FREE}\r\n\r\n".encode()
PAGE = f"http://{ROUTER}:8089"
CURL = "%{time_starttransfer} %{time_total} %{size_download} %{http_code}"


def steps() -> tuple[str, str]:
    """The blocks that the page has one do, without the first, which is names; and those to undo."""
    text = (ROOT / "docs/transparent.md").read_text()
    text = text[text.index("## A home router\n") : text.index("## By hand")]
    text, undo = text.split("### Undo it\n")
    names, *rest = blocks(text)
    assert re.findall(r"^(\w+)=", names, re.MULTILINE) == ["lan", "wan", "router", "parent"]
    return "\n".join(rest), "\n".join(blocks(undo))


def blocks(text: str) -> list[str]:
    found = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


NAMES = f"lan=client wan=origin router={ROUTER} parent={CLIENT[0]}\n"
UNITS = ("nftables.service", "systemd-sysctl.service")


@dataclass(frozen=True, slots=True)
class Fetched:
    status: int
    """curl's own"""
    first_s: float
    total_s: float
    size: int
    code: int

    @property
    def rate_bytes_per_s(self) -> float:
        return self.size / (self.total_s - self.first_s)


class Home:
    def __init__(self, net: Net, machine: Machine, origin: Origin, folder: Path) -> None:
        self.net = net
        self.machine = machine
        self.origin = origin
        self.ca_path = folder / "ca.pem"

    def curl(self, url: str, ca_path: Path, *options: str) -> Fetched:
        """A fetch by the device, over TLS by this authority."""
        done = subprocess.run(
            self.command(url, ca_path, *options), capture_output=True, text=True, check=False
        )
        first, total, size, code = done.stdout.split()
        return Fetched(done.returncode, float(first), float(total), int(size), int(code))

    def command(self, url: str, ca_path: Path, *options: str) -> list[str]:
        return [*self.net.at_client, "curl", "-s", "--noproxy", "*", "--cacert", str(ca_path),
                "--connect-timeout", "5", "--max-time", "40", "-o", "/dev/null", "-w", CURL,
                *options, url]  # fmt: skip

    def page(self, path: str, *options: str) -> str:
        """What the live page answers to the device."""
        return subprocess.run(
            [*self.net.at_client, "curl", "-s", "--max-time", "10", *options, f"{PAGE}{path}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def is_slowed(self, *options: str) -> float:
        """The rate at which a video's photo comes through the proxy, in bytes per second."""
        fetched = self.curl(f"https://{VIDEO}{PHOTO}", self.ca_path, *options)
        assert (fetched.status, fetched.size) == (0, 96_000), self.machine.console()
        return fetched.rate_bytes_per_s

    def is_direct(self, *options: str) -> bool:
        """Whether the same comes from the origin itself, and at once."""
        fetched = self.curl(f"https://{VIDEO}{PHOTO}", self.origin.ca_path, *options)
        return fetched.status == 0 and fetched.size == 96_000 and fetched.total_s < AT_ONCE_S

    def redirects(self) -> bool:
        with inside(self.net.router):
            done = subprocess.run(
                ["nft", "list", "table", *TABLE], capture_output=True, check=False
            )
        return done.returncode == 0

    def wait_until_redirected(self, within_s: float = 60.0) -> float:
        return wait_for(self.redirects, within_s, self.machine.console)

    def main_process(self) -> str:
        return self.machine.sh("systemctl show --property=MainPID --value mitmthrottle").strip()


def wait_for(
    condition: Callable[[], bool], within_s: float, said: Callable[[], str] = str
) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, said()
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("router")
    machine = Machine(folder / "machine", f"mtr{os.getpid()}-router", UNITS)
    with (
        netns.built(f"mtr{os.getpid()}", HOSTS, routes=False) as net,
        served(net, HOSTS) as origin,
        echoes(net),
        machine,
    ):
        shape(net)
        found = Home(net, machine, origin, folder)
        assert passes(net) == {}  # a machine that is no router yet
        (machine.folder / "etc/origin.pem").write_bytes(origin.ca_path.read_bytes())
        do, _ = steps()
        before, start = do.split("systemctl daemon-reload")
        machine.sh(NAMES + before)
        machine.sh(for_the_lab())
        machine.sh("systemctl daemon-reload" + start)
        found.wait_until_redirected()
        found.ca_path.write_text(found.page("/ca.pem"))
        yield found
        log = (machine.folder / "var/proxy.log").read_text()
        assert "Traceback" not in log
        assert "crashed" not in log


def for_the_lab() -> str:
    """What is otherwise here than in a house: who signs the internet's certificates, what is
    private, what time it is, and where the log goes."""
    return """
    sed -i '/^OPTIONS/s|$| --set ssl_verify_upstream_trusted_ca=/etc/origin.pem|' \\
        /etc/mitmthrottle/environment
    sed -i 's|fc00::/7|2001:2:0:8::/64|' /etc/nftables.conf
    sed -i 's|192.168.0.0/16|198.19.0.0/16|' /etc/mitmthrottle/redirect.nft
    hours=$(date -d '-1 hour' +%R)-$(date -d '1 hour' +%R)
    sed -i "s|mon-fri, hours: .*\\"|mon-sun, hours: \\"$hours\\"|" /etc/mitmthrottle/policy.yaml
    echo '[Service]\nStandardOutput=append:/var/proxy.log\nStandardError=inherit' \\
        > /etc/systemd/system/mitmthrottle.service.d/log.conf
    chmod 644 /etc/origin.pem
    """


def shape(net: Net) -> None:
    """An internet that knows no way to a private address, and a modem that has one."""
    for command in (
        f"ip -4 -n {net.origin} route del default",
        f"ip -n {net.client} addr add {BROTHER}/24 dev router",
        f"ip -n {net.client} addr add {OWN}/64 dev router",
        f"ip -n {net.router} addr add {OWN_ROUTER}/64 dev client",
        f"ip -n {net.origin} addr add {MODEM}/32 dev lo",
        f"ip -n {net.router} route add {MODEM}/32 via {ORIGIN[0]}",
    ):
        subprocess.run(command.split(), check=True)
    with inside(net.origin):
        rules = f"""
            add table ip modem
            add chain ip modem to_the_server {{ type nat hook prerouting priority dstnat; }}
            add rule ip modem to_the_server ip daddr {MODEM} dnat to {ORIGIN[0]}
        """
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


ECHOES = {"ssh": (socket.SOCK_STREAM, 2222), "DNS": (socket.SOCK_DGRAM, 53)}


@contextlib.contextmanager
def echoes(net: Net) -> Iterator[None]:
    """Who asks at these ports of the internet is told as whom it is seen."""
    listening = []
    with inside(net.origin):
        for address in ORIGIN:
            for kind, port in ECHOES.values():
                sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    sock.listen()
                listening.append(sock)

    def serve(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed: this is the end
            while True:
                if sock.type == socket.SOCK_STREAM:
                    there, (peer, *_) = sock.accept()
                    with there:
                        there.sendall(peer.encode())
                else:
                    _, sender = sock.recvfrom(100)
                    if sender is None:
                        return
                    sock.sendto(sender[0].encode(), sender)

    threads = [threading.Thread(target=serve, args=(sock,), daemon=True) for sock in listening]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for sock in listening:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def passes(net: Net) -> dict[str, str]:
    """What of everything but the web the device gets an answer to, and as whom it is seen."""
    found = {}
    with inside(net.client):
        for address in ORIGIN:
            for name, (kind, port) in ECHOES.items():
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                with socket.socket(family, kind) as sock, contextlib.suppress(OSError):
                    sock.settimeout(2)
                    sock.connect((address, port))
                    if kind == socket.SOCK_DGRAM:
                        sock.send(b"who am I?")
                    found[f"{name} {address}"] = sock.recv(100).decode()
            if pinged(address):
                found[f"ping {address}"] = "an answer"
    return found


def pinged(address: str) -> bool:
    """Whether an echo request is answered, as `ping` would ask it."""
    family, protocol, request, reply = (
        (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129)
        if ":" in address
        else (socket.AF_INET, socket.IPPROTO_ICMP, 8, 0)
    )
    rest = os.getpid().to_bytes(4)[2:] + b"\0\1"
    checksum = -(request * 256 + sum(rest[::2]) * 256 + sum(rest[1::2])) % 0xFFFF
    deadline = time.monotonic() + 2.0
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock, contextlib.suppress(OSError):
        sock.settimeout(0.5)
        sock.connect((address, 0))
        sock.send(bytes((request, 0)) + checksum.to_bytes(2) + rest)
        while time.monotonic() < deadline:
            data = sock.recv(200)
            answer = data[-8:]  # IPv4's header comes along
            if answer[0] == reply and answer[4:] == rest:
                return True
    return False


EVERYTHING = {
    **{f"{name} {ORIGIN[0]}": OUTSIDE[0] for name in ECHOES},
    **{f"{name} {ORIGIN[1]}": CLIENT[1] for name in ECHOES},
    **{f"ping {address}": "an answer" for address in ORIGIN},
}


def test_everything_but_the_web_passes_masqueraded(home: Home) -> None:
    assert passes(home.net) == EVERYTHING


def test_a_device_with_an_ipv6_address_of_its_own_only_is_masqueraded(home: Home) -> None:
    with inside(home.net.client), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind((OWN, 0))
        sock.connect((ORIGIN[1], 53))
        sock.send(b"who am I?")
        assert sock.recv(100).decode() == OUTSIDE[1]
    assert home.is_slowed("--interface", OWN, "-6") == pytest.approx(RATE, rel=0.05)


@pytest.mark.parametrize("version", ["-4", "-6"])
def test_the_web_is_slowed_by_the_policy_and_other_web_is_not(
    home: Home, figures: Figures, version: str
) -> None:
    rate = home.is_slowed(version)
    figures.add(f"router, IPv{version[1]}: a video's photo at (asked {RATE})", rate, "B/s")
    assert rate == pytest.approx(RATE, rel=0.05)
    for host, path in ((FREE, "/photo.jpg"), (LESSON, "/video.mp4"), ("www.tiktok.com", TEXT)):
        fetched = home.curl(f"https://{host}{path}", home.ca_path, version)
        assert (fetched.status, fetched.code) == (0, 200), host
        assert fetched.total_s < AT_ONCE_S, host
    slow = home.curl(f"http://scontent.cdninstagram.com{PHOTO}", home.ca_path, version)
    assert slow.rate_bytes_per_s == pytest.approx(RATE, rel=0.05)


@pytest.mark.parametrize("address", ORIGIN)
def test_quic_is_refused_at_once(home: Home, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(home.net.client), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((address, 443))
        sock.send(b"hello")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)


def test_a_server_at_home_is_none_of_the_proxys(home: Home) -> None:
    options = ("--resolve", f"modem.example:443:{MODEM}")
    assert home.curl("https://modem.example/", home.origin.ca_path, *options).status == 0
    assert home.curl("https://modem.example/", home.ca_path, *options).status == 60


@pytest.mark.parametrize("port", [22, 443, 8080, 8089])
@pytest.mark.parametrize("address", [*OUTSIDE, *CLIENT])
def test_nobody_gets_in_from_outside(home: Home, address: str, port: int) -> None:
    with inside(home.net.origin), pytest.raises((TimeoutError, OSError)) as refused:
        socket.create_connection((address, port), 0.7)
    # Dropped, or no way there (a private address); nobody has refused or accepted.
    assert not isinstance(refused.value, ConnectionRefusedError)


def test_the_live_page_from_the_devices(home: Home) -> None:
    """The one of the parents may switch and sees all; the other reads what is its own."""
    brother = ("--interface", BROTHER)
    for each in (("-4",), brother):
        assert home.curl(f"https://{VIDEO}/api/timeline.json", home.ca_path, *each).status == 0
    assert "<title>" in home.page("/")
    parent = json.loads(home.page("/api/state"))
    child = json.loads(home.page("/api/state", *brother))
    assert (parent["reader"]["address"], parent["reader"]["sees"]) == (CLIENT[0], "everything")
    assert parent["reader"]["may_switch"]
    assert (child["reader"]["address"], child["reader"]["sees"]) == (BROTHER, "own")
    assert not child["reader"]["may_switch"]
    assert {each["address"] for each in child["clients"]} == {BROTHER}
    assert {BROTHER, CLIENT[0]} <= {each["address"] for each in parent["clients"]}
    switch = "/api/rules/distractions%20crawl%20on%20school%20days?action="
    token = f"X-Throttle-Token: {parent['reader']['token']}"
    refused = home.page(
        switch + "disable", *brother, "-X", "POST", "-H", token, "-w", "%{http_code}"
    )
    assert refused.endswith("403")
    switched = home.page(switch + "disable", "-X", "POST", "-H", token)
    try:
        assert json.loads(switched)["switched_off"] is True
        fast = home.curl(f"https://{VIDEO}{PHOTO}", home.ca_path)
        assert fast.total_s < AT_ONCE_S
    finally:
        home.page(switch + "enable", "-X", "POST", "-H", token)
    top = home.machine.sh("/opt/mitmthrottle/bin/mitmthrottle top --once")
    assert "distractions crawl" in top


def test_the_page_answers_under_no_other_name_and_by_no_other_way(home: Home) -> None:
    """A name of somebody's that was made to point here; and through the proxy, as the machine."""
    asked = home.page("/", "-H", "Host: evil.example:8089", "-w", "%{http_code}")
    assert asked.endswith("421")
    for there in (f"{ROUTER}:8080", f"{OUTSIDE[0]}:8080", f"{OUTSIDE[0]}:8089", ORIGIN[0]):
        for host in ("127.0.0.1:8089", f"{ROUTER}:8089", "throttle.proxy"):
            answer = subprocess.run(
                [*home.net.at_client, "curl", "-s", "--max-time", "5", "-H", f"Host: {host}",
                 f"http://{there}/api/state"],
                capture_output=True, text=True, check=False,
            ).stdout  # fmt: skip
            sees = json.loads(answer)["reader"]["sees"] if '"reader"' in answer else ""
            allowed = there in (f"{OUTSIDE[0]}:8089", ORIGIN[0])  # the page itself, as this device
            assert sees == "" or (allowed and json.loads(answer)["reader"]["address"] == CLIENT[0])


def test_a_device_gets_the_authority(home: Home) -> None:
    fetched = subprocess.run(
        [*home.net.at_client, "curl", "-s", "--fail", "--resolve", f"mitm.it:80:{ORIGIN[0]}",
         "http://mitm.it/cert/pem"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "BEGIN CERTIFICATE" in fetched
    assert fetched == home.page("/ca.pem")


@pytest.mark.parametrize("agent", ["okhttp/4.12.0", "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8)"])
def test_an_app_that_takes_the_authority_is_slowed_as_a_browser(home: Home, agent: str) -> None:
    assert home.is_slowed("-A", agent) == pytest.approx(RATE, rel=0.05)
    text = home.curl(f"https://{VIDEO}{TEXT}", home.ca_path, "-A", agent)
    assert (text.status, text.size) == (0, 1_000_000)
    assert text.total_s < AT_ONCE_S


@pytest.mark.parametrize("version", ["-4", "-6"])
def test_an_app_that_does_not_is_slowed_as_a_whole(
    home: Home, figures: Figures, version: str
) -> None:
    """Its first try fails; then text comes at the rate as well, and other sites' at full speed."""
    host, path = "scontent.cdninstagram.com", "/bytes/96000?type=application/json"
    agent = ("-A", "okhttp/4.12.0", version)
    pinned = home.origin.ca_path
    assert home.curl(f"https://{host}{path}", pinned, *agent).status == 60
    fetched = home.curl(f"https://{host}{path}", pinned, *agent)
    assert (fetched.status, fetched.size) == (0, 96_000)
    rate = fetched.rate_bytes_per_s
    figures.add(f"router, IPv{version[1]}: an app's text at (asked {RATE})", rate, "B/s")
    assert rate == pytest.approx(RATE, rel=0.08)
    assert home.curl(f"https://{FREE}{TEXT}", pinned, *agent).status == 60
    free = home.curl(f"https://{FREE}{TEXT}", pinned, *agent)
    assert (free.status, free.size) == (0, 1_000_000)
    assert free.total_s < AT_ONCE_S


def ask_again(connection: ssl.SSLSocket) -> None:
    """Ask, and read until the other side closes."""
    connection.sendall(GET)
    while connection.recv(1000):
        pass


def test_a_proxy_that_is_killed_is_gone_past_until_it_is_back(home: Home, figures: Figures) -> None:
    before = home.main_process()
    home.machine.sh("systemctl kill --kill-whom=main --signal=KILL mitmthrottle")
    gone_s = wait_for(lambda: not home.redirects(), 10.0)
    figures.add("router: killed, and the redirect is gone after", gone_s * 1000, "ms")
    assert gone_s < 1.5
    assert home.is_direct("-4")
    assert home.is_direct("-6")
    assert passes(home.net) == EVERYTHING
    with inside(home.net.client):
        meanwhile = socket.create_connection((ORIGIN[0], 443), 10)
    trust = ssl.create_default_context(cafile=home.origin.ca_path)
    with trust.wrap_socket(meanwhile, server_hostname=FREE) as begun_meanwhile:
        begun_meanwhile.sendall(GET)
        assert begun_meanwhile.recv(1000).startswith(b"HTTP/1.1 200")
        back_s = home.wait_until_redirected()
        figures.add("router: and it is back after", gone_s + back_s, "s")
        with pytest.raises(ConnectionResetError):
            ask_again(begun_meanwhile)
    assert home.main_process() not in ("0", before)
    assert home.is_slowed("-4") == pytest.approx(RATE, rel=0.05)
    assert home.is_slowed("-6") == pytest.approx(RATE, rel=0.05)


def test_a_proxy_that_hangs_is_ended_and_gone_past(home: Home, figures: Figures) -> None:
    home.machine.sh(f"kill -STOP {home.main_process()}")
    gone_s = wait_for(lambda: not home.redirects(), 25.0)
    figures.add("router: it hangs, and the redirect is gone after", gone_s, "s")
    assert home.is_direct("-4")
    home.wait_until_redirected()
    assert home.is_slowed() == pytest.approx(RATE, rel=0.05)


def test_no_new_connection_fails_when_it_is_stopped(home: Home) -> None:
    """However it is answered, by the proxy or by the origin."""
    statuses: list[int] = []
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            got = home.curl(
                f"https://{FREE}/photo-small.jpg", home.ca_path, "-k", "--max-time", "5"
            )
            statuses.append(got.status)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        wait_for(lambda: len(statuses) > 10, 20.0)
        home.machine.sh("systemctl stop mitmthrottle")
        after = len(statuses)
        wait_for(lambda: len(statuses) > after + 10, 20.0)
    finally:
        stopped.set()
        for thread in asking:
            thread.join()
    home.machine.sh("systemctl start mitmthrottle")
    # What was under way at its end may break.
    assert sum(status != 0 for status in statuses) <= len(asking), statuses
    assert 7 not in statuses  # "failed to connect"
    assert home.redirects()  # at once: the unit is started when the proxy accepts connections
    assert home.is_slowed() == pytest.approx(RATE, rel=0.05)


def test_with_a_broken_policy_it_is_gone_past(home: Home) -> None:
    policy = "/etc/mitmthrottle/policy.yaml"
    home.machine.sh(f"cp {policy} /etc/kept.yaml; echo 'nonsense: 1' >> {policy}")
    try:
        time_limit = home.machine.run("systemctl", "restart", "mitmthrottle")
        assert time_limit.returncode != 0
        assert not home.redirects()
        assert home.is_direct()
    finally:
        home.machine.sh(f"cp /etc/kept.yaml {policy}")
    home.wait_until_redirected()
    assert home.is_slowed() == pytest.approx(RATE, rel=0.05)


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_where_the_rules_of_the_machine_are_loaded_anew_so_are_ours(home: Home, how: str) -> None:
    before = home.main_process()
    home.machine.sh(f"systemctl {how} nftables")
    home.wait_until_redirected()
    assert (home.main_process() == before) == (how == "reload")
    assert home.is_slowed() == pytest.approx(RATE, rel=0.05)


def test_after_a_power_cut_all_of_it_is_there_again(home: Home) -> None:
    home.machine.power_off()
    with inside(home.net.router):
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("0")
    assert passes(home.net) == {}
    home.machine.power_on()
    home.wait_until_redirected()
    assert passes(home.net) == EVERYTHING
    for version in ("-4", "-6"):
        assert home.is_slowed(version) == pytest.approx(RATE, rel=0.05)


def test_without_the_authority_sites_are_slowed_by_their_name(home: Home) -> None:
    environment = "/etc/mitmthrottle/environment"
    home.machine.sh(
        f"cp {environment} /etc/kept; sed -i '/^OPTIONS/s/$/ --set ignore_hosts=./' {environment}"
    )
    try:
        home.machine.sh("systemctl restart mitmthrottle")
        for version in ("-4", "-6"):
            path = "/bytes/96000?type=text/html"
            slow = home.curl(f"https://{VIDEO}{path}", home.origin.ca_path, version)
            assert (slow.status, slow.size) == (0, 96_000)
            assert slow.rate_bytes_per_s == pytest.approx(RATE, rel=0.08)
            free = home.curl(f"https://{FREE}{TEXT}", home.origin.ca_path, version)
            assert (free.status, free.size) == (0, 1_000_000)
            assert free.total_s < AT_ONCE_S
    finally:
        home.machine.sh(f"cp /etc/kept {environment}; systemctl restart mitmthrottle")


def test_the_unit_is_one_that_systemd_takes(home: Home) -> None:
    verified = home.machine.run("systemd-analyze", "verify", "mitmthrottle.service")
    ours = [line for line in verified.stderr.splitlines() if "mitmthrottle" in line]
    assert ours == []


def test_undone_it_is_a_router_still(home: Home) -> None:
    """The last: nothing is left of the proxy."""
    _, undo = steps()
    home.machine.sh(undo)
    assert not home.redirects()
    assert home.is_direct("-4")
    assert home.is_direct("-6")
    assert passes(home.net) == EVERYTHING
    assert list(home.machine.folder.glob("etc/systemd/system/mitmthrottle*")) == []
    assert list(home.machine.folder.glob("var/lib/**/mitmproxy-ca*")) == []
