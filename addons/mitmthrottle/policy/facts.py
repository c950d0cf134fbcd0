"""What is known of an exchange, and the answers that a condition may give about it.

Rule: what takes work to find out is found out once, whoever asks and however often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mitmthrottle.policy.detect.content import Kind, classify, kind_by_type, needs_first_bytes
from mitmthrottle.policy.exchange import Exchange

NO: Final = 0
YES: Final = 1
MORE_BYTES: Final = 2  # the body's size is not known yet
FIRST_BYTES: Final = 3  # only the body's first bytes can tell

ENCRYPTED = "the payload is encrypted, so it cannot be read"
_UNSEEN: Final = object()


class Facts:
    """An exchange, and what was worked out about it so far (once for all rules)."""

    __slots__ = ("_kind", "_upload", "exchange")

    def __init__(self, exchange: Exchange, upload: bool = False) -> None:
        self.exchange = exchange
        self._upload = upload
        self._kind: object = _UNSEEN

    @property
    def kind_known(self) -> bool:
        return self._kind is not _UNSEEN

    @property
    def kind(self) -> Kind | None:
        """What the response is, as far as can be told now."""
        if self._kind is _UNSEEN:
            self._kind = kind_of(self.exchange, self._upload)
        return self._kind  # type: ignore[return-value]  # no longer _UNSEEN, which mypy cannot tell from object

    @property
    def waits_for_first_bytes(self) -> bool:
        """Whether the kind may change once the first bytes of the body are seen."""
        exchange = self.exchange
        if exchange.websocket or exchange.opaque or exchange.has_no_body:
            return False
        if exchange.first_bytes is not None and (
            exchange.complete or exchange.first_bytes_complete
        ):
            return False
        destination = _destination(exchange, self._upload)
        return needs_first_bytes(
            exchange.content_type, destination, exchange.first_bytes, exchange.content_encoding
        )


def kind_of(exchange: Exchange, upload: bool = False) -> Kind | None:
    """What the response, or the upload, is, as far as can be told now."""
    if exchange.websocket:
        return "websocket"
    if exchange.opaque:
        return None
    told = kind_by_type(exchange.content_type)
    if told != "unknown":
        return told  # without a search for Sec-Fetch-Dest: most types tell
    destination = _destination(exchange, upload)
    return classify(
        exchange.content_type,
        destination,
        exchange.first_bytes,
        exchange.path,
        exchange.content_encoding,
    )


def _destination(exchange: Exchange, upload: bool) -> str | None:
    if upload:
        return None  # what the response is wanted for says nothing of the request's body
    return exchange.request_headers.get("sec-fetch-dest")


def listed(items: Sequence[str], most: int = 4) -> str:
    """`a`, `b` or `c`, for people; long lists are cut."""
    shown = [f"`{item}`" for item in items[:most]]
    if len(items) > most:
        shown.append(f"{len(items) - most} others")
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1]
