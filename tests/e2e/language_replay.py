"""Record and replay, as Wehe does it: an exchange with its timing, sent again from any name, and
what the samples of its throughput say of two such transfers.

Rule: target and control are the same bytes at the same times and differ in nothing but what a
policy may look at.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import trustme

from mitmthrottle.lab.site import media

from . import language_shape as shape
from .answer import Answer

SAMPLES = 20  # of each transfer: its time in equal parts, the throughput in each
# A difference counts if chance makes one as large in less than one of a hundred pairs, and if it is
# one of size: two transfers of the same kind differ a little whenever the machine is busy.
P_VALUE = 0.01
RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Recording:
    """Pieces of a body, and when each was sent, in seconds from the first."""

    pieces: tuple[tuple[float, bytes], ...]

    @property
    def size(self) -> int:
        return sum(len(piece) for _, piece in self.pieces)


def recording(size: int = 48_000, rate_bytes_per_s: float = 200_000, seed: int = 1) -> Recording:
    """The beginning of a photo, as a line of 1.6 Mbit/s would bring it: pieces of 300 to 3,000
    bytes, each when the line is through with it, give or take, as in what one records.

    Pieces all alike would make samples of few values, which a hair more of time shifts all at once.
    """
    photo = media("photo-large.jpg")[:size]
    dice = random.Random(seed)
    pieces: list[tuple[float, bytes]] = []
    position, at = 0, 0.0
    while position < size:
        length = min(dice.randint(300, 3_000), size - position)
        pieces.append((at, photo[position : position + length]))
        position += length
        at += length / rate_bytes_per_s * dice.uniform(0.5, 1.5)
    return Recording(tuple(pieces))


@contextlib.contextmanager
def running_replay(
    recorded: Recording, hosts: Sequence[str], authority: trustme.CA
) -> Iterator[int]:
    """HTTP/1 in TLS on a port, for these names: `/photo` and `/text` are the recording with that
    type. Yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        arguments = (listener, context, recorded)
        threading.Thread(target=_accept, args=arguments, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # close() alone does not end a blocked accept()


def _accept(listener: socket.socket, trust: ssl.SSLContext, recorded: Recording) -> None:
    with contextlib.suppress(OSError):  # the listener was closed: the end
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_replay, args=(sock, trust, recorded), daemon=True).start()


def _replay(sock: socket.socket, trust: ssl.SSLContext, recorded: Recording) -> None:
    sock.settimeout(30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError), trust.wrap_socket(sock, server_side=True) as secure:
        head = b""
        while b"\r\n\r\n" not in head:
            data = secure.recv(4096)
            if not data:
                return
            head += data
        kind = b"image/jpeg" if head.startswith(b"GET /photo") else b"text/html"
        secure.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
            % (kind, recorded.size)
        )
        begun = time.perf_counter()
        for at, piece in recorded.pieces:
            time.sleep(max(0.0, begun + at - time.perf_counter()))
            secure.sendall(piece)
        secure.recv(1)  # until the client has had enough


def samples(answer: Answer) -> list[float]:
    """The throughput of a transfer in each of `SAMPLES` equal parts of its time, in bytes/s."""
    begin, end = answer.sent_at, answer.arrivals[-1][0]
    part = (end - begin) / SAMPLES
    counts = [0] * SAMPLES
    for at, size in answer.arrivals:
        counts[min(SAMPLES - 1, int((at - begin) / part))] += size
    return [count / part for count in counts]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One transfer against another: distance and p-value of Kolmogorov and Smirnov, mean rates."""

    distance: float
    p_value: float
    one_bytes_per_s: float
    other_bytes_per_s: float

    @property
    def slowed(self) -> bool:
        """Whether the one is slower than the other by more than chance and load explain."""
        return self.p_value < P_VALUE and self.one_bytes_per_s < RATIO * self.other_bytes_per_s


def compare(one: Answer, other: Answer) -> Comparison:
    first, second = samples(one), samples(other)
    return Comparison(
        shape.ks_distance(first, second),
        shape.ks_p_value(first, second),
        sum(first) / SAMPLES,
        sum(second) / SAMPLES,
    )
