"""The connection to the store.

Rule: a call ends within `TIMEOUT_S` and a little, with an answer or with `StoreUnavailable`; trying
again is the caller's.

Beside the calls, the process listens on a channel of its own, where others only say that they wait
for their part. When it ends, however it does, the kernel closes that connection, and the others
find that nobody listens there any more. So they can tell a process that has ended from one that is
cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .address import Address

TIMEOUT_S = 1.0
LOOK_S = 0.05  # for an answer that came in while this process itself could not run
LISTEN_AGAIN_S = 0.25


class StoreUnavailable(Exception):
    """The store has not answered; the message says why. `at_once`: it has refused or closed the
    connection, which happens to one that was idle for long."""

    def __init__(self, why: str, *, at_once: bool = False) -> None:
        super().__init__(why)
        self.at_once = at_once


class Connection:
    """Calls to one store."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.listening = False  # on the channel
        self.calls = 0
        self._calls = _client(address)
        self._channel = _client(address)
        self._scripts = {
            name: self._calls.register_script(
                resources.files(__package__ or "").joinpath(name).read_text()
            )
            for name in ("parts.lua", "starts.lua", "quota.lua", "peers.lua")
        }

    def __repr__(self) -> str:
        return f"Connection({self.address}, {self.calls} calls)"

    async def run(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> Any:
        """What a script answers: a text or a list of texts. Raises StoreUnavailable."""
        self.calls += 1
        call = asyncio.ensure_future(self._scripts[script](list(keys), list(arguments)))
        try:
            # `asyncio.timeout` would end it with the answer at hand, if the loop is late.
            for time_s in (TIMEOUT_S, LOOK_S):
                await asyncio.wait({call}, timeout=time_s)
                if call.done():
                    return call.result()
            raise StoreUnavailable(f"no answer within {TIMEOUT_S:g} s")
        except exceptions.ConnectionError as error:
            raise StoreUnavailable(str(error) or type(error).__name__, at_once=True) from None
        except exceptions.NoPermissionError as error:
            raise StoreUnavailable(f"it refuses what is needed: {error}") from None
        except exceptions.RedisError as error:
            raise StoreUnavailable(str(error) or type(error).__name__) from None
        except OSError as error:
            raise StoreUnavailable(error.strerror or type(error).__name__) from None
        finally:
            if not call.done():
                call.cancel()
                call.add_done_callback(_end_in_silence)

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Be there, until cancelled; `heard` gets what is said."""
        while True:
            with contextlib.suppress(exceptions.RedisError, OSError, TimeoutError):
                await self._listen(channel, heard)
            self.listening = False
            await asyncio.sleep(LISTEN_AGAIN_S)

    async def _listen(self, channel: str, heard: Callable[[str], None]) -> None:
        subscription = self._channel.pubsub()
        try:
            await subscription.subscribe(channel)
            async for message in subscription.listen():
                if message["type"] == "subscribe":
                    self.listening = True
                elif message["type"] == "message" and message["data"]:
                    heard(message["data"])
        finally:
            await subscription.aclose()  # type: ignore[no-untyped-call]  # redis's own

    async def close(self) -> None:
        for client in (self._calls, self._channel):
            with contextlib.suppress(exceptions.RedisError, OSError):
                await client.aclose()


def _end_in_silence(call: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more, so asyncio would log how its connection was given up."""
    if not call.cancelled():
        call.exception()


def _client(address: Address) -> Redis:
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "socket_timeout": None,  # `run` has its own eye on the time
        "decode_responses": True,
        "protocol": 2,  # every server speaks it, and it asks for nothing at the beginning
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    if address.path:
        return Redis(unix_socket_path=address.path, **options)
    if address.tls:
        options |= {
            "ssl": True,
            "ssl_ca_certs": address.ca,
            "ssl_certfile": address.cert,
            "ssl_keyfile": address.key,
        }
    return Redis(
        host=address.host,
        port=address.port,
        socket_connect_timeout=TIMEOUT_S,
        socket_keepalive=True,
        **options,
    )
