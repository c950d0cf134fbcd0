"""Everything that the throttle knows while it runs: the policy, the clock, the budgets, what is
under way.

Rule: the addon talks to mitmproxy, the streams move bytes, and this holds what they share.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable

from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.proxy import server

from mitmthrottle.pacing import Shared
from mitmthrottle.policy import Decider, Decision, Exchange, Policy, Rule

from . import block, credit
from .credit import GatedReader
from .outcome import Outcome
from .paced import Paced
from .stream import PacedStream
from .wake import Clock

logger = logging.getLogger(__name__)


class Engine:
    """One running throttle."""

    def __init__(
        self,
        policy: Policy,
        proxyserver: Proxyserver,
        clock: Clock,
        on_match: Callable[[http.HTTPFlow, Rule], None],
        on_outcome: Callable[[http.HTTPFlow, Outcome], None],
    ) -> None:
        self.clock = clock
        self.schedule = clock.schedule
        self.shared = Shared()
        self.counts: Counter[str] = Counter()  # outcomes, and `failed`: flows passed on an error
        self._proxyserver = proxyserver
        self._on_match = on_match
        self._on_outcome = on_outcome
        self._blocked: dict[str, Rule] = {}  # blocked at their request, by flow
        self._taken: dict[str, Paced] = {}  # decided in the hook, not yet begun by the stream
        self._active: defaultdict[str, set[Paced]] = defaultdict(set)  # by client connection
        self.paced_responses = 0
        self._serial = 0
        self._use(policy)

    def _use(self, policy: Policy) -> None:
        self.policy = policy
        self.seed = policy.seed
        self._decider = Decider(policy)

    # -- deciding

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def decide(self, exchange: Exchange) -> Decision:
        return self._decider.decide(exchange)

    def decide_request(self, exchange: Exchange) -> Decision:
        return self._decider.decide_request(exchange)

    def might_match_host(self, host: str) -> bool:
        return self._decider.might_match_host(host)

    def hold(self, flow: http.HTTPFlow, paced: Paced) -> None:
        """The addon has decided: the flow's stream will find this response here."""
        self._taken[flow.id] = paced

    def forget(self, flow: http.HTTPFlow) -> None:
        """The flow has failed before its stream could take it."""
        self._blocked.pop(flow.id, None)
        if paced := self._taken.pop(flow.id, None):
            paced.ended("origin-gone")

    def block_request(self, flow: http.HTTPFlow, rule: Rule) -> None:
        """Answer a request ourselves, so that the origin is never asked."""
        self.block(flow, rule)
        self._blocked[flow.id] = rule

    def block(self, flow: http.HTTPFlow, rule: Rule) -> None:
        """Put our answer in the place of the origin's."""
        if rule.then.block is None:
            raise ValueError(f"rule {rule.name!r} does not block")
        flow.response = block.answer(rule.then.block, rule.name, flow.request.method)

    def blocked_by(self, flow: http.HTTPFlow) -> Rule | None:
        return self._blocked.pop(flow.id, None) if self._blocked else None

    # -- what the streams call

    def take(self, flow: http.HTTPFlow) -> Paced | None:
        return self._taken.pop(flow.id, None) if self._taken else None

    def reader_of(self, stream: PacedStream) -> GatedReader | None:
        handler = self.handler_of(stream.context.client)
        if handler is None:
            return None
        return credit.reader_of(handler, stream.context, stream.parent_layer())

    # -- what the responses call

    def now(self) -> float:
        return self.clock.now()

    def handler_of(self, client: Client) -> server.ConnectionHandler | None:
        connections = self._proxyserver.connections
        handler: server.ConnectionHandler | None = connections.get(client.id)
        if handler is None and client.transport_protocol == "udp":
            # UDP connections are listed by their addresses.
            handler = next((h for h in connections.values() if h.client is client), None)
        return handler

    def unsent_bytes(self, client: Client) -> int:
        """What waits in the proxy for the client's socket."""
        handler = self.handler_of(client)
        transport = handler.transports.get(client) if handler else None
        raw = getattr(transport.writer, "transport", None) if transport else None
        return raw.get_write_buffer_size() if raw is not None else 0

    def reset_on_close(self, client: Client) -> None:
        if handler := self.handler_of(client):
            block.reset_on_close(handler)

    def matched(self, flow: http.HTTPFlow, rule: Rule) -> None:
        self._on_match(flow, rule)

    def started(self, paced: Paced) -> None:
        self.paced_responses += 1
        self._active[paced.flow.client_conn.id].add(paced)

    def ended(self, paced: Paced, outcome: str) -> None:
        client = paced.flow.client_conn.id
        if paced in self._active.get(client, ()):
            self.paced_responses -= 1
            self._active[client].discard(paced)
            if not self._active[client]:
                del self._active[client]
        if paced.rule is None:
            return
        self.counts[outcome] += 1
        self._on_outcome(paced.flow, paced.outcome(outcome))

    def failed(self, flow: http.HTTPFlow) -> None:
        """To be called in an `except`: the flow goes on without us."""
        self.counts["failed"] += 1
        logger.exception(
            "mitmthrottle failed on %s and lets it pass unthrottled", flow.request.pretty_url
        )

    # -- change and end

    def change_policy(self, policy: Policy) -> None:
        """Use another policy: what is under way goes on under its rule's new rates, or runs free
        where its rule is gone."""
        self._use(policy)
        rules = {rule.name: rule for rule in policy.rules}
        for paced in self.active():
            if paced.rule is None:
                continue
            rule = rules.get(paced.rule.name)
            if rule is None or rule.then.pass_:
                paced.run_free()
            else:
                paced.follow(rule, self.seed)
            paced.wake_at(self.now())

    def active(self) -> list[Paced]:
        return [paced for group in self._active.values() for paced in group]

    def client_gone(self, client: Client) -> None:
        """Normally its streams have noticed; what is left over ends here."""
        for paced in list(self._active.get(client.id, ())):
            paced.ended("client-gone")

    def stop(self) -> None:
        for paced in self.active():
            paced.ended("stopped")
        self.clock.stop()
