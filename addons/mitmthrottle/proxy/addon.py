"""The mitmproxy addon: options in, hooks in, decisions out.

Rule: an error of ours lets the flow pass; a policy that does not load never replaces one that
works.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from mitmproxy import command, ctx, dns, exceptions, http, tcp, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.proxy import layer
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from mitmthrottle.policy import Policy, PolicyError, find_policy, load_policy
from mitmthrottle.proxy.bodies.body import SMALL_QUEUE_BYTES
from mitmthrottle.proxy.control import options, policy_file
from mitmthrottle.proxy.control.commands import Control
from mitmthrottle.proxy.mitm import cork, flow_control, quic
from mitmthrottle.proxy.mitm.compat import require_known_mitmproxy
from mitmthrottle.proxy.mitm.patch import Patch, annotate_har, widen
from mitmthrottle.proxy.mitm.pinned import Pinned
from mitmthrottle.proxy.observe.mark import Marks
from mitmthrottle.proxy.observe.observer import Observer, Observers
from mitmthrottle.proxy.observe.snapshot import Snapshot
from mitmthrottle.store import Address, Down, PeerMessages, exchange_status

from . import engine
from .engine import Engine
from .facts import url_of

logger = logging.getLogger(__name__)


class Throttle:
    """Slows the responses that a policy file names."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.control = Control(self._use)
        self.observers = Observers()
        self.marks = Marks()
        self._path: Path | None = None
        self._reloads = 0  # how often a newer file has taken over
        self._content: bytes | None = None  # of the policy file, when it was loaded
        self._patch: Patch | None = None
        self._live: policy_file.PolicyFile | None = None
        self._running = False
        self._shared: tuple[Address, Down] | None = None
        self._pinned = Pinned()
        self._quic_refused = False

    def observe(self, observer: Observer) -> None:
        """Tell this one what happens, from now on."""
        self.observers.add(observer)
        if self.engine is not None:
            observer.policy_in_force(self.engine.policy, self._path, self._reloads)

    def snapshot(self) -> Snapshot:
        """How it is now.  Observers have been told by then of all that was before."""
        self.observers.catch_up()
        failures = self.observers.faults.total()
        if self.engine is None:
            return Snapshot(observer_failures=failures)
        return Snapshot(
            engine=self.engine.snapshot(),
            file_policy=self.control.policy,
            overrides=self.control.snapshot(),
            observer_failures=failures,
        )

    async def tell_peers(self, text: str, *, listen: bool) -> PeerMessages | None:
        """Say this to the processes that share with this one, and hear what they say; None where
        nobody wants to know (`listen`), or there is no store that answers."""
        store = self.engine.store if self.engine is not None else None
        if store is None or store.away is not None:
            return None
        return await exchange_status(store, text, listen=listen)

    @property
    def store_address(self) -> Address | None:
        """Of the store that this process shares through."""
        return self._shared[0] if self._shared else None

    # -- options and commands

    def load(self, loader: Loader) -> None:
        require_known_mitmproxy()
        annotate_har()
        options.declare(loader)

    def configure(self, updated: set[str]) -> None:
        # mitmproxy loads scripts in its loop, before it accepts a connection, and tells `running`
        # when it has accepted some: what is slowed has to be slowed from here on.
        with contextlib.suppress(RuntimeError):  # no loop: a test's
            asyncio.get_running_loop()
            self._running = True
        if ctx.options.throttle_most_held < 0:
            raise exceptions.OptionsError(
                f"throttle_most_held: {ctx.options.throttle_most_held} is no number of bodies: "
                "set it to 0 for no bound, or to how many may be held"
            )
        self._quic_refused = ctx.options.throttle_quic == "block"
        if updated & {"throttle_store", "throttle_store_down"}:
            self._share(ctx.options.throttle_store, ctx.options.throttle_store_down)
        if "throttle_policy" in updated:
            self._load(ctx.options.throttle_policy)
        if self.engine is not None:
            self.engine.server_timing = ctx.options.throttle_server_timing
            self.engine.held.most = ctx.options.throttle_most_held
        if "throttle_commands" in updated and self._running:
            self._carry_out(ctx.options.throttle_commands)

    def _share(self, url: str, down: Down) -> None:
        if self.engine is not None:
            raise exceptions.OptionsError(
                "throttle_store and throttle_store_down cannot change while the proxy runs"
            )
        try:
            self._shared = (Address.parse(url, os.environ), down) if url else None
        except ValueError as error:
            raise exceptions.OptionsError(f"throttle_store: {error}") from None

    def _carry_out(self, lines: Sequence[str]) -> None:
        for line in lines:
            if not line.startswith("throttle."):
                raise exceptions.OptionsError(
                    f"throttle_commands: `{line}` is not a throttle.* command"
                )
            try:
                ctx.master.commands.execute(line)
            except exceptions.CommandError as error:
                raise exceptions.OptionsError(f"throttle_commands: `{line}`: {error}") from None

    def _load(self, name: str) -> None:
        if not name:
            self._path = None
            self._stop()
            return
        try:
            path = find_policy(name)
            content = policy_file.digest(path)
            policy = load_policy(path)
        except PolicyError as error:
            raise exceptions.OptionsError(str(error)) from None
        self._path, self._content = path, content
        self.control.policy = policy
        if self._running:
            self._use(self.control.effective())
            self._watch(path)

    @command.command("throttle.status")  # type: ignore[untyped-decorator]  # mitmproxy's own
    def status(self) -> str:
        """What is slowed now, rule by rule."""
        return self.control.status(self.engine)

    @command.command("throttle.disable")  # type: ignore[untyped-decorator]  # mitmproxy's own
    def disable(self, rule: str, revert_after: str = "") -> None:
        """Switch a rule off, perhaps for a time only ("10 min")."""
        self.control.disable(rule, revert_after)

    @command.command("throttle.enable")  # type: ignore[untyped-decorator]  # mitmproxy's own
    def enable(self, rule: str, revert_after: str = "") -> None:
        """Take back what commands have changed of a rule, perhaps for a time only."""
        self.control.enable(rule, revert_after)

    @command.command("throttle.rate")  # type: ignore[untyped-decorator]  # mitmproxy's own
    def rate(self, rule: str, rate: str, revert_after: str = "") -> None:
        """Let a rule slow to another rate ("64 kbit/s"), perhaps for a time only."""
        self.control.rate(rule, rate, revert_after)

    # -- beginning and end

    def running(self) -> None:
        self.observers.tell_later(asyncio.get_running_loop().call_later)

    def done(self) -> None:
        self._running = False
        self._stop()
        self.observers.tell_later(None)  # nobody comes round again

    def _use(self, policy: Policy) -> None:
        """Slow by this policy from now on."""
        if not self._running:
            return
        self.marks.path = self._path
        if self.engine is not None:
            self.engine.change_policy(policy, self._version(policy))
        else:
            self._begin(policy)
        self.observers.policy_in_force(policy, self._path, self._reloads)

    def _begin(self, policy: Policy) -> None:
        proxyserver = ctx.master.addons.get("proxyserver")
        if not isinstance(proxyserver, Proxyserver):
            raise exceptions.OptionsError("mitmthrottle needs mitmproxy's proxyserver addon")
        self.engine = engine.start(policy, proxyserver, self.observers, self.marks, self._shared)
        self.engine.version = self._version(policy)
        self.engine.server_timing = ctx.options.throttle_server_timing
        self.engine.held.most = ctx.options.throttle_most_held
        self._patch = Patch(self.engine)
        self._patch.install()
        logger.info("mitmthrottle: %s, %d rules", policy.name, len(policy.rules))

    def _version(self, policy: Policy) -> str:
        """See record.py."""
        changed = "" if policy is self.control.policy else "+"
        return f"{self._content.hex()[:12] if self._content else ''}{changed}"

    def _watch(self, path: Path) -> None:
        if self._live is not None:
            self._live.stop()
        self._live = policy_file.PolicyFile(path, self._content, self._reloaded, self._broken)

    def _reloaded(self, policy: Policy) -> None:
        self.control.policy = policy
        if self._live is not None:
            self._content = self._live.content
        self._reloads += 1
        self._use(self.control.effective())
        logger.info("mitmthrottle: a new %s took over, %d rules", policy.name, len(policy.rules))

    def _broken(self, error: PolicyError) -> None:
        logger.error("mitmthrottle: the last good policy stays in force, since\n%s", error)
        self.observers.policy_refused(error)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._patch is not None:
            self._patch.remove()
            self._patch = None
        self.control.stop()
        if self.engine is not None:
            self.engine.stop()
            self.engine = None
            self.observers.stopped()

    # -- mitmproxy's hooks

    def client_connected(self, client: Client) -> None:
        if self.engine is not None and (handler := self.engine.connections.handler_of(client)):
            widen(handler, self.engine)
            flow_control.pausable(handler, client)
            cork.put_cork(handler, client)

    def client_disconnected(self, client: Client) -> None:
        if self.engine is not None:
            self.engine.client_gone(client)
            self.engine.connections.close_all_left_open(client)
            self._pinned.gone(client, self.engine.now())

    def server_connected(self, data: ServerConnectionHookData) -> None:
        engine = self.engine
        if engine is None:
            return
        names = {data.server.sni, data.client.sni, data.server.address and data.server.address[0]}
        matched = data.server.via or engine.might_match_any(names)
        if handler := engine.connections.handler_of(data.client):
            # Always, since a rule for it may come while the connection lasts.
            reader = flow_control.pausable(handler, data.server)
            if matched and reader is not None:
                reader.limit(SMALL_QUEUE_BYTES)
                engine.connections.reading_little.add(reader)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        if self.engine is not None:
            self.engine.connections.close_left_open(data.client, data.server)

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        if nextlayer.data_client():
            self._pinned.spoke(nextlayer.context.client)
        if self._quic_refused and self.engine is not None:
            quic.refuse(nextlayer)

    def dns_response(self, flow: dns.DNSFlow) -> None:
        if self._quic_refused and self.engine is not None and flow.response is not None:
            try:
                quic.without_h3_records(flow.response)
            except Exception:  # fail open: see the rule above
                self._failed(f"the answer to a DNS question for {flow.request.question}")

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        engine = self.engine
        if engine is not None and ctx.options.throttle_pinned == "passthrough":
            data.ignore_connection |= self._pinned.is_pinned(data, engine.now())

    def tls_failed_client(self, data: tls.TlsData) -> None:
        if self.engine is not None:
            self._pinned.failed(data, self.engine.now())

    def tls_established_client(self, data: tls.TlsData) -> None:
        if self.engine is not None:
            self._pinned.established(data, self.engine.now())

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        if flow.messages[-1].from_client:
            self._pinned.spoke(flow.client_conn)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self._pinned.spoke(flow.client_conn)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if self._quic_refused and self.engine is not None and flow.response is not None:
            try:
                quic.without_h3(flow.response)
            except Exception:  # fail open: see the rule above
                self.engine.failed(url_of(flow))

    def response(self, flow: http.HTTPFlow) -> None:
        if self.engine is not None:
            self.engine.reports.has_passed(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        if self.engine is not None:
            self.engine.forget(flow)

    def _failed(self, what: str) -> None:
        if self.engine is not None:
            self.engine.failed(what)
