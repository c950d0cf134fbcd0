"""The mitmproxy addon: options in, hooks in, decisions out.

Rule: an error of ours lets the flow pass; a policy that does not load never replaces one that
works.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.hooks import UpdateHook
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from mitmthrottle.policy import Decision, Policy, PolicyError, Rule, find_policy, load_policy

from . import credit, mark
from .engine import Engine
from .facts import exchange_of
from .guard import require_known_mitmproxy
from .outcome import Outcome
from .paced import Paced
from .patch import Patch, widen
from .wake import Clock

logger = logging.getLogger(__name__)


class Throttle:
    """Slows the responses that a policy file names."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self._policy: Policy | None = None
        self._policy_file = ""
        self._patch: Patch | None = None
        self._running = False

    # -- options

    def load(self, loader: Loader) -> None:
        require_known_mitmproxy()
        loader.add_option(
            "throttle_policy",
            str,
            "",
            "Policy file that says which responses are slowed, for whom and how; or the name of "
            "a policy that ships with mitmthrottle.",
        )

    def configure(self, updated: set[str]) -> None:
        if "throttle_policy" not in updated:
            return
        name = ctx.options.throttle_policy
        if not name:
            self._policy = None
            self._stop()
            return
        try:
            path = find_policy(name)
            policy = load_policy(path)
        except PolicyError as error:
            raise exceptions.OptionsError(str(error)) from None
        self._policy, self._policy_file = policy, Path(path).name
        if self.engine is not None:
            self.engine.change_policy(policy)
        elif self._running:
            self._start(policy)

    def running(self) -> None:
        self._running = True
        if self._policy is not None and self.engine is None:
            self._start(self._policy)

    def done(self) -> None:
        self._running = False
        self._stop()

    def _start(self, policy: Policy) -> None:
        proxyserver = ctx.master.addons.get("proxyserver")
        if not isinstance(proxyserver, Proxyserver):
            raise exceptions.OptionsError("mitmthrottle needs mitmproxy's proxyserver addon")
        self.engine = Engine(policy, proxyserver, Clock(), self._matched, self._ended)
        self._patch = Patch(self.engine)
        self._patch.install()
        logger.info("mitmthrottle: %s, %d rules", policy.name, len(policy.rules))

    def _stop(self) -> None:
        if self._patch is not None:
            self._patch.remove()
            self._patch = None
        if self.engine is not None:
            self.engine.stop()
            self.engine = None

    # -- hooks

    def client_connected(self, client: Client) -> None:
        if self.engine is not None and (handler := self.engine.handler_of(client)):
            widen(handler, self.engine)

    def client_disconnected(self, client: Client) -> None:
        if self.engine is not None:
            self.engine.client_gone(client)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        engine = self.engine
        if engine is None:
            return
        names = {data.server.sni, data.client.sni, data.server.address and data.server.address[0]}
        matched = any(name and engine.might_match_host(name) for name in names)
        if (data.server.via or matched) and (handler := engine.handler_of(data.client)):
            credit.gate(handler, data.server)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Where the request alone tells that it will be blocked, the origin is not asked."""
        if self.engine is None or flow.response is not None:
            return
        try:
            decision = self.engine.decide_request(exchange_of(flow, 0))
            if decision.rule is not None and decision.rule.then.block is not None:
                self.engine.block_request(flow, decision.rule)
        except Exception:  # fail open: see the rule above
            self.engine.failed(flow)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if self.engine is None:
            return
        try:
            self._decide(self.engine, flow)
        except Exception:  # fail open: see the rule above
            self.engine.failed(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        if self.engine is not None:
            self.engine.forget(flow)

    def _decide(self, engine: Engine, flow: http.HTTPFlow) -> None:
        response = flow.response
        if response is None:
            return
        exchange = exchange_of(flow, engine.next_serial())
        blocked_by = engine.blocked_by(flow)
        decision = Decision(blocked_by, None) if blocked_by else engine.decide(exchange)
        rule = decision.rule
        if rule is None and not decision.needs_head and decision.size_step is None:
            return
        if rule is not None and rule.then.pass_:
            return
        streamed_anyway = bool(response.stream)
        engine.hold(flow, Paced(engine, flow, exchange, decision, streamed_anyway))
        if flow.response is not None:  # another one where the rule blocks
            flow.response.stream = flow.response.stream or True

    def _matched(self, flow: http.HTTPFlow, rule: Rule) -> None:
        mark.mark_start(flow, rule, self._policy_file)

    def _ended(self, flow: http.HTTPFlow, outcome: Outcome) -> None:
        mark.mark_end(flow, outcome, self._policy_file)
        ctx.master.addons.trigger(UpdateHook([flow]))
