"""What holds in each of mitmproxy's modes: each cell of the table in docs/modes.md.

Rule: a cell is one transfer at its rate, every byte of it the origin's; where a cell of the table
says that something cannot hold, the transfer is at full speed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from mitmthrottle.lab import netns
from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.lab.transparent import proxied

from . import ways_clients as ways
from . import ways_dial, ways_http3
from . import ways_tun as tun
from . import ways_wireguard as wireguard
from .figures import Figures
from .ways_origin import WaysOrigin, running_ways_origin

pytestmark = pytest.mark.e2e

RATE, SIZE = 32_000, 128_000  # four seconds
REL = 0.05  # dozens at once, and the first tenth of a second may come at once
BODY = noise(0, SIZE)
DIGEST = hashlib.sha256(BODY).hexdigest()
SLOW, HIDDEN, FREE = "a.slow.example", "hidden.slow.example", "a.free.example"
HOSTS = ("*.slow.example", "*.free.example")
IGNORED = r"^hidden\.slow\.example:"
POLICY = f"""
version: 1
name: modes
rules:
  - name: everything of a host, for those who come from where the tests do
    when: {{host: .slow.example, client: {{address: [127.0.0.1, {netns.CLIENT[0]}, 10.0.0.1]}}}}
    then: {{rate: 256 kbit/s, upload: {{rate: 256 kbit/s}}}}
  - name: an address, where nobody names a host
    when: {{host: [{netns.ORIGIN[0]}, {wireguard.FAR}, {tun.FAR}], port: 7000}}
    then: {{rate: 256 kbit/s}}
"""
Transfer = Callable[[], ways.Arrived | ways.Sent]


@dataclass(frozen=True, slots=True)
class Client:
    """How to go through one mode."""

    dial: ways_dial.Dial
    proxy_ca: Path
    origin_ca: Path

    def tls(self, alpn: str | None) -> ways_dial.Dial:
        return ways_dial.over_tls(self.dial, self.proxy_ca, alpn)

    def web(self, host: str = SLOW) -> dict[str, Transfer]:
        """The protocols of HTTP's ports."""
        http1 = self.tls("http/1.1")
        return {
            "HTTP/1.1": lambda: ways.http1_get(http1, host, 443, f"/bytes/{SIZE}"),
            "HTTP/1.1 in the clear": lambda: ways.http1_get(self.dial, host, 80, f"/bytes/{SIZE}"),
            "HTTP/2": lambda: ways.http2_get(self.tls("h2"), host, 443, f"/bytes/{SIZE}"),
            "upload": lambda: ways.http1_put(http1, host, 443, BODY),
            "WebSocket": lambda: ways.WebSocket(http1, host, 443).get(SIZE),
        }

    def others(self) -> dict[str, Transfer]:
        """What is no HTTP, or cannot be seen to be."""
        hidden = ways_dial.over_tls(self.dial, self.origin_ca, "h2")
        return {
            "TLS that is not opened": lambda: ways.http2_get(hidden, HIDDEN, 443, f"/bytes/{SIZE}"),
            "another protocol in TLS": lambda: ways.own_get(self.tls(None), SLOW, 7443, SIZE),
            "plain TCP": lambda: ways.own_get(self.dial, SLOW, 7000, SIZE),
        }

    def last_word(self) -> Transfer:
        """The client has said all and closes its side.  Not in a CONNECT, of which mitmproxy then
        closes the other side too."""
        return lambda: ways.own_get(self.dial, SLOW, 7000, SIZE, last_word=True)


def judge(cells: dict[tuple[str, str], Transfer], figures: Figures) -> None:
    """Make all transfers at once, and look at each."""
    with ThreadPoolExecutor(len(cells)) as pool:
        going = {cell: pool.submit(transfer) for cell, transfer in cells.items()}
    faults = []
    for (mode, protocol), result in going.items():
        if fault := result.exception():
            faults.append(f"{mode}, {protocol}: {fault!r}")
            continue
        done = result.result()
        rate = done.rate_bytes_per_s
        figures.add(f"modes, {mode}, {protocol} (asked {RATE})", rate, "B/s")
        if done.digest != DIGEST:
            faults.append(f"{mode}, {protocol}: other bytes than the origin's")
        if rate != pytest.approx(RATE, rel=REL):
            faults.append(f"{mode}, {protocol}: {rate:.0f} B/s")
    assert not faults


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


# -- the modes that a client or a name has to be told of


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WaysOrigin]:
    with running_ways_origin(tmp_path_factory.mktemp("ways"), HOSTS) as running:
        yield running


def test_regular_upstream_socks_and_reverse(
    origin: WaysOrigin, policy: Callable[[str], Path], figures: Figures
) -> None:
    reverse = {443: free_port(), 80: free_port(), 7443: free_port(), 7000: free_port()}
    socks, upstream, quic = free_port(), free_port(), free_port(socket.SOCK_DGRAM)
    with (
        running_proxy(
            None,
            upstream_ca=origin.ca_path,
            resolve=origin.resolve,
            options=["--ignore-hosts", IGNORED, "--set", "stream_large_bodies=1"],
        ) as beyond,
        running_proxy(
            policy(POLICY),
            resolve=origin.resolve,
            options=[
                *("--mode", "regular", "--mode", f"socks5@{socks}"),
                *("--mode", f"upstream:{beyond.url}@{upstream}"),
                *("--mode", f"reverse:https://{SLOW}@{reverse[443]}"),
                *("--mode", f"reverse:http://{SLOW}@{reverse[80]}"),
                *("--mode", f"reverse:tls://{SLOW}:7443@{reverse[7443]}"),
                *("--mode", f"reverse:tcp://{SLOW}:7000@{reverse[7000]}"),
                *("--mode", f"reverse:http3://127.0.0.1:{origin.quic}@{quic}"),
                *("--set", "keep_host_header=true", "--ignore-hosts", IGNORED),
                *("--set", f"ssl_verify_upstream_trusted_ca={both(origin, beyond)}"),
            ],
        ) as proxy,
    ):
        modes = {
            "regular": ways_dial.through_connect(proxy.port),
            "upstream": ways_dial.through_connect(upstream),
            "SOCKS5": ways_dial.through_socks(socks),
            "reverse": ways_dial.direct(ports=reverse),
        }
        cells: dict[tuple[str, str], Transfer] = {}
        for mode, dial in modes.items():
            client = Client(dial, proxy.ca_path, origin.ca_path)
            for protocol, transfer in {**client.web(), **client.others()}.items():
                cells[mode, protocol] = transfer
            if mode in ("SOCKS5", "reverse"):
                cells[mode, "plain TCP, half-closed"] = client.last_word()
        cells["reverse", "HTTP/3"] = lambda: ways_http3.http3_get(
            quic, SLOW, f"/bytes/{SIZE}", proxy.ca_path
        )
        cells["reverse", "HTTP/3, upload"] = lambda: ways_http3.http3_put(
            quic, SLOW, BODY, proxy.ca_path
        )
        judge(cells, figures)
        # The same without a rule, in the modes in which a client can ask for another host.
        for mode in ("regular", "upstream", "SOCKS5"):
            client = Client(modes[mode], proxy.ca_path, origin.ca_path)
            for protocol, transfer in client.web(FREE).items():
                start = time.perf_counter()
                assert transfer().digest == DIGEST
                assert time.perf_counter() - start < 1.5, (mode, protocol)
        assert "Traceback" not in proxy.log()
        assert "crashed" not in proxy.log()


def both(origin: WaysOrigin, beyond: RunningProxy) -> Path:
    """To be trusted upstream: the origin's authority, and that of the proxy in between."""
    path = origin.ca_path.with_name("both.pem")
    path.write_text(origin.ca_path.read_text() + beyond.ca_path.read_text())
    return path


# -- the modes that nobody has to be told of


def test_transparent_wireguard_and_tun(
    policy: Callable[[str], Path], figures: Figures, tmp_path: Path
) -> None:
    keys = wireguard.make_keys(tmp_path)
    with (
        netns.built(f"mtm{os.getpid()}", ()) as net,
        tun.far_address(net, wireguard.FAR),
        tun.far_address(net, tun.FAR),
        on_its_machine(net, tmp_path) as origin,
        proxied(
            net,
            policy(POLICY),
            origin.ca_path,
            [
                *("--mode", f"wireguard:{keys}@{wireguard.PORT}", "--mode", f"tun:{tun.DEVICE}"),
                *("--ignore-hosts", IGNORED),
            ],
        ) as proxy,
        wireguard.tunnelled(net, keys),
    ):
        tun.route_into(net)
        cells: dict[tuple[str, str], Transfer] = {}
        modes = {"transparent": netns.ORIGIN[0], "WireGuard": wireguard.FAR, "tun": tun.FAR}
        for mode, address in modes.items():
            dial = ways_dial.on_the_machine(net.client, ways_dial.direct(address))
            client = Client(dial, proxy.ca_path, origin.ca_path)
            for protocol, transfer in {**client.web(), **client.others()}.items():
                cells[mode, protocol] = transfer
            cells[mode, "plain TCP, half-closed"] = client.last_word()
        for mode in ("WireGuard", "tun"):
            quic = Http3(net, modes[mode], proxy.ca_path)
            cells[mode, "HTTP/3"] = quic.get
            cells[mode, "HTTP/3, upload"] = quic.put
        judge(cells, figures)
        for address in modes.values():
            dial = ways_dial.on_the_machine(net.client, ways_dial.direct(address))
            client = Client(dial, proxy.ca_path, origin.ca_path)
            for protocol, transfer in client.web(FREE).items():
                start = time.perf_counter()
                assert transfer().digest == DIGEST
                assert time.perf_counter() - start < 1.5, (address, protocol)
        assert "Traceback" not in proxy.log()
        assert "crashed" not in proxy.log()


@contextlib.contextmanager
def on_its_machine(net: netns.Net, folder: Path) -> Iterator[WaysOrigin]:
    with contextlib.ExitStack() as stack:
        with netns.inside(net.origin):
            origin = stack.enter_context(
                running_ways_origin(folder, HOSTS, quic_addresses=(wireguard.FAR, tun.FAR))
            )
        yield origin


@dataclass(frozen=True, slots=True)
class Http3:
    """On the client's machine, to that address of the origin."""

    net: netns.Net
    address: str
    ca_path: Path

    def get(self) -> ways.Arrived:
        with netns.inside(self.net.client):
            return ways_http3.http3_get(443, SLOW, f"/bytes/{SIZE}", self.ca_path, self.address)

    def put(self) -> ways.Sent:
        with netns.inside(self.net.client):
            return ways_http3.http3_put(443, SLOW, BODY, self.ca_path, self.address)
