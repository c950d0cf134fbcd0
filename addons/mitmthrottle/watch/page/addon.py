"""The live page: what the throttle does now, at http://throttle.proxy/ through the proxy and on
a listener of its own.

Rule: it looks on. Once a second it takes a sample; everything else is worked out when somebody
asks, and whatever fails in here is logged and never reaches a flow.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from mitmproxy import ctx, exceptions, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Server

from mitmthrottle.proxy.destinations import opened_by_us
from mitmthrottle.proxy.facts import PAGE_HOST, host_of, name_of
from mitmthrottle.proxy.pinned import says_so
from mitmthrottle.proxy.snapshot import Observed

from . import access, pac
from .api import State
from .bridge import serve
from .peers import Peers
from .routes import Backend, SwitchRefused, application
from .samples import EVERY_S, JustEnded, Samples
from .server import Address, Listener
from .state import Devices, PageState
from .view import Reading, View

logger = logging.getLogger(__name__)

HIDE_AFTER_S = 1.0
"""A flow of the page is over by then."""


class Page:
    """The addon: options, listener, samples, and what the page asks for."""

    def __init__(self, throttle: Observed, exposition: Callable[[str], tuple[bytes, str]]) -> None:
        """`exposition` gives the metrics and their content type for an Accept header."""
        self._throttle = throttle
        self._page_state = PageState()
        self._samples = Samples()
        self._devices = Devices()
        self._peers = Peers(throttle, self._page_state, self._samples, self._name)
        self._view = View(
            self._page_state,
            self._samples,
            self.listens,
            self._devices.known,
            self._peers,
        )
        self._access = access.Access(secrets.token_urlsafe(24))
        self._listener: Listener | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._address: Address | None = None
        self._replacing: asyncio.Task[None] | None = None
        self.app = application(
            Backend(
                access=lambda: self._access,
                is_ourselves=opened_by_us,
                state=self._state,
                policy_text=self._view.policy_text,
                switch=self._switch,
                pac=self._pac,
                metrics=exposition,
                authority=_authority,
                version=self._version,
            )
        )
        throttle.observe(self._page_state)

    # -- options

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "throttle_listen",
            str,
            "127.0.0.1:8089",
            "Where the live page is served, besides http://throttle.proxy/ through the proxy: "
            "`address:port`, port 0 for any that is free, empty for nowhere. Costs: one sample a "
            "second, and what those ask who look.",
        )
        loader.add_option(
            "throttle_page_hosts",
            Sequence[str],
            [],
            "Further names under which the page's listener answers, as browsers and scrapers "
            "write them into their Host header: `lab.example` or `lab.example:18089`. Costs: "
            "whoever can point such a name to another address can read what the page shows.",
        )
        loader.add_option(
            "throttle_page_writers",
            Sequence[str],
            list(access.DEFAULT_WRITERS),
            "Networks whose clients may switch rules on the live page and see everybody's "
            "traffic; others see their own. Costs: whoever is in one of them can read every URL.",
        )

    def configure(self, updated: set[str]) -> None:
        options = ctx.options
        try:
            if "throttle_listen" in updated:
                text = options.throttle_listen
                self._address = Address.parse(text) if text.strip() else None
            names = [access.parse_name(name) for name in options.throttle_page_hosts]
            writers = access.parse_writers(options.throttle_page_writers)
        except ValueError as fault:
            raise exceptions.OptionsError(f"mitmthrottle's live page: {fault}") from None
        self._access = access.Access(self._access.token, frozenset(names), writers)
        if self._listener is not None:
            self.answers_at(self._listener.address)
        if "throttle_listen" in updated and self._sampling is not None:
            # The old one is let go by and by; the new one has another address.
            self._replacing = asyncio.get_running_loop().create_task(self._listen_anew())

    # -- beginning and end

    def running(self) -> None:
        self._sampling = asyncio.get_running_loop().create_task(
            self._sample(), name="mitmthrottle samples"
        )
        self._telling = asyncio.get_running_loop().create_task(
            self._peers.run(), name="mitmthrottle peers"
        )
        self._listen()

    def done(self) -> Coroutine[None, None, None]:
        if self._sampling is not None:
            self._sampling.cancel()
            self._sampling = None
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._listener is not None:
            self._listener.close()  # now: a script that is loaded anew wants the same address
        return self._stop_listening()

    def _listen(self) -> None:
        if self._address is None:
            return
        try:
            self._listener = Listener(self._address, self.app)
        except OSError as fault:
            logger.warning(
                "mitmthrottle: no live page at %s (%s): set throttle_listen to another "
                "address:port, or to nothing; http://%s/ through the proxy works",
                self._address,
                fault.strerror or fault,
                PAGE_HOST,
            )
            return
        self.answers_at(self._listener.address)
        logger.info("mitmthrottle: live page at %s", self._listener.url)

    def answers_at(self, address: Address) -> None:
        """Be known by the names of this address."""
        names = access.names_for(address.host, address.port, ctx.options.throttle_page_hosts)
        self._access = access.Access(self._access.token, names, self._access.writers)

    @property
    def url(self) -> str | None:
        """Of the listener; None without one."""
        return self._listener.url if self._listener else None

    async def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stop()

    async def _listen_anew(self) -> None:
        await self._stop_listening()
        self._listen()

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + EVERY_S, loop.time() + EVERY_S / 2)
            await asyncio.sleep(due - loop.time())
            try:
                self._take_sample(loop.time())
                await self._devices.learn(
                    each.user_agent for each in self._page_state.clients.values()
                )
            except Exception:  # see the rule above
                logger.exception("mitmthrottle: the live page's sample failed")

    def _take_sample(self, now: float) -> None:
        bodies = self._throttle.snapshot().bodies
        kept = self._page_state
        ended, kept.just_ended = kept.just_ended, JustEnded()
        totals = {name: tally.ended_bytes for name, tally in kept.rules.items()}
        self._samples.take(now, bodies, totals, ended)
        kept.tick()

    # -- mitmproxy's hooks

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """What is for us goes to nobody else, whatever the client said of where to: should its body
        be streamed, the connection for it is refused (destinations.py)."""
        if host_of(flow) == PAGE_HOST:
            flow.request.data.host = PAGE_HOST
            flow.server_conn = Server(address=(PAGE_HOST, flow.request.port))

    def request(self, flow: http.HTTPFlow) -> Coroutine[None, None, None] | None:
        host = host_of(flow)
        if host == PAGE_HOST:
            return self._answer(flow)
        self._page_state.asked(host)
        return None  # without a coroutine: every request comes by

    async def _answer(self, flow: http.HTTPFlow) -> None:
        if flow.live and not flow.error and not flow.response:
            await serve(self.app, flow)
            asyncio.get_running_loop().call_later(HIDE_AFTER_S, _hide, flow)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        address = data.context.server.address
        name = data.context.client.sni or (address[0] if address else "")
        if name and says_so(data.conn.error):
            self._page_state.distrusted(name_of(name))

    # -- what the page asks for

    def listens(self) -> list[str]:
        """Where the proxy can be reached by a browser's proxy setting."""
        proxyserver = ctx.master.addons.get("proxyserver")
        if not isinstance(proxyserver, Proxyserver):
            return []
        return [
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            for server in proxyserver.servers
            if server.mode.type_name in ("regular", "upstream")
            for host, port, *_ in server.listen_addrs
        ]

    def _state(self, reading: Reading) -> State:
        now = self._throttle.snapshot()
        self._page_state.looked_at()
        self._peers.looked_at()
        return self._view.state(now, reading)

    def _version(self) -> str | None:
        engine = self._throttle.snapshot().engine
        return engine.version if engine is not None else None

    def _name(self) -> str:
        """What to call this process among those that share budgets with it."""
        host = socket.gethostname()
        if number := getattr(ctx.options, "fleet_worker", 0):  # they all listen on one port
            return f"{host}, worker {number}"
        listens = self.listens()
        return f"{host}:{listens[0].rpartition(':')[2]}" if listens else host

    def _switch(self, rule: str, on: bool) -> None:
        try:
            self._throttle.enable(rule) if on else self._throttle.disable(rule)
        except exceptions.CommandError as fault:
            raise SwitchRefused(str(fault)) from None
        logger.info("mitmthrottle: `%s` was switched %s on the page", rule, "on" if on else "off")

    def _pac(self, host: str, proxy: str | None) -> str:
        if proxy is None and (listens := self.listens()):
            proxy = self._as_seen(host, listens[0])
        policy = self._throttle.snapshot().file_policy
        return pac.pac(policy, pac.parse_proxy(proxy) if proxy else None)

    def _as_seen(self, host: str, listens: str) -> str:
        """The proxy by the name that the reader has used for the page, where that name is one
        of this machine's."""
        address, _, port = listens.rpartition(":")
        name = access.split_host(host)[0]
        with contextlib.suppress(ValueError):
            if not ipaddress.ip_address(address.strip("[]")).is_unspecified:
                return listens
        return f"127.0.0.1:{port}" if name == PAGE_HOST else f"{name}:{port}"


def _authority() -> bytes | None:
    path = Path(ctx.options.confdir).expanduser() / "mitmproxy-ca-cert.pem"
    try:
        return path.read_bytes()
    except OSError:
        return None


def _hide(flow: http.HTTPFlow) -> None:
    """A page that asks every second would fill the list of flows of mitmproxy and mitmweb."""
    view = ctx.master.addons.get("view")
    if view is not None:
        view.remove([flow])
