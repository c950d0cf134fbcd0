"""A mitmproxy script: what makes a mitmdump one worker of several.

Rule: start.py loads it, before all other scripts; by itself it does nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import mode_specs

from mitmthrottle.proxy.listen import shared_port

logger = logging.getLogger(__name__)

STDIN = 0
ONE_PROCESS = ("local", "tun", "wireguard")
"""Modes in which mitmproxy does not listen for TCP connections that could be spread."""


class Worker:
    """The addon."""

    def load(self, loader: Loader) -> None:
        loader.add_option("fleet_worker", int, 0, "Which of several workers this is; 0: the only.")
        loader.add_option("fleet_ready", int, -1, "Descriptor to write a line to, once ready.")

    def configure(self, updated: set[str]) -> None:
        options = ctx.options
        if not options.fleet_worker:
            return
        for text in options.mode:
            if mode_specs.ProxyMode.parse(text).type_name in ONE_PROCESS:
                raise exceptions.OptionsError(
                    f"mode `{text}` is for one process: leave --workers out"
                )

    def running(self) -> None:
        if not ctx.options.fleet_worker:
            return
        self._move_page()
        loop = asyncio.get_running_loop()
        loop.add_reader(STDIN, self._supervisor_says)
        # When the scripts that follow have been told as well, the throttle among them.
        loop.call_soon(self._serve)

    def _serve(self) -> None:
        if shared_port.current is not None:
            self._serving = asyncio.get_running_loop().create_task(
                self._served(shared_port.current)
            )

    async def _served(self, port: shared_port.SharedPort) -> None:
        try:
            await port.serve()
        except OSError as error:
            logger.error("mitmthrottle: cannot listen: %s", error)
            ctx.master.shutdown()
            return
        descriptor = ctx.options.fleet_ready
        if descriptor >= 0:
            proxyserver = ctx.master.addons.get("proxyserver")
            facts = {"listen": proxyserver.listen_addrs(), "page": _page()}
            os.write(descriptor, f"{json.dumps(facts)}\n".encode())
            os.close(descriptor)

    def _move_page(self) -> None:
        """Each worker has a live page and metrics of its own, on the ports that follow."""
        moved = page_address(_page(), ctx.options.fleet_worker)
        if moved != _page():
            ctx.options.update(throttle_listen=moved)

    def _supervisor_says(self) -> None:
        """It says nothing: what there is to read is the end of it."""
        if not os.read(STDIN, 4096):
            asyncio.get_running_loop().remove_reader(STDIN)
            logger.warning("mitmthrottle: the supervisor is gone, ending")
            ctx.master.shutdown()


def _page() -> str:
    return str(ctx.options.throttle_listen) if "throttle_listen" in ctx.options else ""


def page_address(text: str, number: int) -> str:
    """Where worker `number` (from 1) has its page, if the first has it there.

    >>> page_address("127.0.0.1:8089", 3)
    '127.0.0.1:8091'
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) <= 65536 - number:
        return text  # nowhere, any that is free, or what the page itself will complain about
    return f"{host}:{int(port) + number - 1}"


addons = [Worker()]
