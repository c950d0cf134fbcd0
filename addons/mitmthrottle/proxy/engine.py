"""Everything that the throttle knows while it runs: the policy, the clock, the budgets, what is
under way.

Rule: the addon talks to mitmproxy, the streams move bytes, and this holds what they share.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.flow import Flow
from mitmproxy.proxy import context

from mitmthrottle.pacing import Budget, Quotas, Shared, piece_s
from mitmthrottle.policy import Decider, Decision, Exchange, Policy, Rule, Then
from mitmthrottle.store import Address, Down, Store

from . import block, credit
from .connections import Connections
from .direction import PacedDirection
from .facts import PAGE_HOST, exchange_of, host_of, is_address, upload_of, user_of
from .held import Held
from .mark import Marks
from .paced import PacedResponse
from .reports import Reports
from .turns import Turns
from .upload import PacedUpload
from .wake import LONGEST_TICK_S, SHORTEST_TICK_S, Clock
from .watcher import Watchers

CLOCKS_DIFFER_S = 0.05  # between processes: not worth changing anything for


class Engine:
    """One running throttle."""

    def __init__(
        self,
        policy: Policy,
        proxyserver: Proxyserver,
        clock: Clock,
        watchers: Watchers,
        marks: Marks,
        store: Store | None = None,
    ) -> None:
        self.clock = clock
        self.now = clock.now
        self.schedule = clock.schedule
        self.store = store  # through which other processes share, if any do
        self.shared = Shared(store.parts if store else None)
        self.quotas = Quotas(store.quota if store else None)
        self.turns = Turns(store)
        self.version = ""  # of the policy, see record.py
        self.server_timing = False  # say in responses what is done to them
        self.paced_responses = 0
        self.connections = Connections(proxyserver)
        self.reports = Reports(watchers, marks, clock.now)
        self._blocked: dict[str, Rule] = {}  # blocked at their request, by flow
        # Decided in a hook, not yet begun by the stream:
        self._responses: dict[str, PacedResponse] = {}
        self._uploads: dict[str, PacedUpload] = {}
        self._active: defaultdict[str, set[Held]] = defaultdict(set)  # by client connection
        self._serial = 0
        self._start(policy)
        if store is not None:
            store.parts.on_part = self._part_changed
            store.sharing.elapsed_s = lambda: self.elapsed_s
            store.sharing.on_clock = self._clock_is_common
            store.start()

    def _start(self, policy: Policy) -> None:
        self.policy_started = self.now()
        self.policy_started_unix = self.unix_time()
        self._use(policy)

    def _use(self, policy: Policy) -> None:
        self.policy = policy
        self.seed = policy.seed
        self._decider = Decider(policy)
        credit.policy_changed(self.might_match_any)
        self._uploads_paced = any(rule.then.upload is not None for rule in policy.rules)
        self._blocks = any(
            rule.then.block is not None or any(stage.block for stage in rule.then.stages)
            for rule in policy.rules
        )
        if self.store is not None:
            self.store.use(policy.seed, policy.name)

    # -- deciding

    def might_match_host(self, host: str) -> bool:
        return self._decider.might_match_host(host)

    def might_match_any(self, names: set[str | None]) -> bool:
        """Likewise of a connection known by these names; True while only addresses are known, as
        in transparent mode before the first byte."""
        known = [name for name in names if name and not is_address(name)]
        return not known or any(self._decider.might_match_host(name) for name in known)

    @property
    def elapsed_s(self) -> float:
        """Since the policy's start."""
        return self.now() - self.policy_started

    def decide(self, exchange: Exchange) -> Decision:
        return self._decider.decide(exchange)

    def request_came(self, flow: http.HTTPFlow) -> None:
        """Where the request alone tells that it will be blocked, the origin is not asked; and its
        body may have an `upload` rule."""
        if not (self._blocks or self._uploads_paced) or not self.concerns(flow):
            return
        exchange = exchange_of(flow, self._next_serial(), self.elapsed_s)
        rule = self._decider.decide_request(exchange).rule
        if rule is not None and flow.response is None:
            then, _ = rule.then.at(exchange.elapsed_s)
            if then.block is not None and then.quota is None and rule.then.from_ == "policy":
                self.block(flow, rule, then)
                self._blocked[flow.id] = rule
                return
        if self._uploads_paced:
            decision = self._decider.decide_upload(upload_of(flow, exchange))
            if decision.rule is not None and decision.rule.then.upload is not None:
                self._uploads[flow.id] = PacedUpload(self, flow, exchange, decision.rule)
                flow.request.stream = flow.request.stream or True

    def response_came(self, flow: http.HTTPFlow) -> None:
        """The response's headers are there: decide what becomes of it."""
        response = flow.response
        if response is None:
            return
        host = host_of(flow)
        if host == PAGE_HOST:
            return
        if not self._decider.might_match_host(host):
            # Not even looked at, unless somebody wants to know.
            if self.reports.watchers.wants_unmatched:
                now = self.now()
                self.reports.unconcerned(flow, now, now - self.policy_started, self.version)
            self.reports.unmatched += 1
            return
        exchange = exchange_of(flow, self._next_serial(), self.elapsed_s)
        blocked_by = self._blocked.pop(flow.id, None) if self._blocked else None
        decision = Decision(blocked_by) if blocked_by else self.decide(exchange)
        self.reports.decided(flow, exchange, decision)
        rule = decision.rule
        undecided = decision.needs_head or decision.size_step is not None
        if (rule is None and not undecided) or (rule is not None and rule.then.pass_):
            self.reports.passes(flow, exchange, rule, self.version)
            return
        streamed_anyway = bool(response.stream)
        self._responses[flow.id] = PacedResponse(self, flow, exchange, decision, streamed_anyway)
        if flow.response is not None:  # another one where the rule blocks
            flow.response.stream = flow.response.stream or True

    def opaque_came(
        self, ctx: context.Context, name: str | None, scheme: str, flow: Flow | None
    ) -> list[PacedDirection]:
        """A connection that cannot be opened has said for whom it is: decide."""
        address = ctx.server.address
        host = name or (address[0] if address else "")
        if not host or not self._decider.might_match_host(host):
            return []
        exchange = Exchange(
            host=host,
            scheme=scheme,
            port=address[1] if address else 0,
            client_address=ctx.client.peername[0] if ctx.client.peername else None,
            user=user_of(ctx.client),
            opaque=True,
            time=self.unix_time(),
            elapsed_s=self.elapsed_s,
            serial=self._next_serial(),
        )
        return self._both_ways(ctx, exchange, flow)

    def websocket_came(self, ctx: context.Context, flow: http.HTTPFlow) -> list[PacedDirection]:
        """A WebSocket was agreed upon: decide what becomes of its messages."""
        if not self.concerns(flow):
            return []
        exchange = exchange_of(flow, self._next_serial(), self.elapsed_s)
        return self._both_ways(ctx, exchange, flow)

    def _both_ways(
        self, ctx: context.Context, exchange: Exchange, flow: Flow | None
    ) -> list[PacedDirection]:
        rule = self.decide(exchange).rule
        if rule is None or rule.then.pass_:
            return []
        if flow is not None:
            self.reports.marks.begun(flow, rule)
        return [PacedDirection(self, ctx, exchange, rule, way, flow) for way in ("down", "up")]

    def block(self, flow: http.HTTPFlow, rule: Rule, then: Then) -> None:
        """Put our answer in the place of the origin's."""
        if then.block is None:
            raise ValueError(f"rule {rule.name!r} does not block")
        flow.response = block.answer(then.block, rule.name, flow.request.method)

    def concerns(self, flow: http.HTTPFlow) -> bool:
        """Whether any rule could match: most traffic of most proxies ends here."""
        host = host_of(flow)
        return host != PAGE_HOST and self._decider.might_match_host(host)

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    # -- what the streams call

    def take(self, flow: http.HTTPFlow) -> PacedResponse | None:
        return self._responses.pop(flow.id, None) if self._responses else None

    def take_upload(self, flow: http.HTTPFlow) -> PacedUpload | None:
        return self._uploads.pop(flow.id, None) if self._uploads else None

    def forget(self, flow: http.HTTPFlow) -> None:
        """The flow has failed, perhaps before its stream could take it."""
        self.reports.has_passed(flow)
        self._blocked.pop(flow.id, None)
        for held in (self._responses.pop(flow.id, None), self._uploads.pop(flow.id, None)):
            if held is not None:
                held.ended("origin-gone")

    # -- what the bodies call

    def unix_time(self) -> float:
        return time.time()

    def begun(self, held: Held) -> None:
        self.paced_responses += 1
        self._adapt()
        self._active[held.client.id].add(held)
        self.reports.began(held)

    def ended(self, held: Held, outcome: str) -> None:
        client = held.client.id
        if held in self._active.get(client, ()):
            self.paced_responses -= 1
            self._adapt()
            self._active[client].discard(held)
            if not self._active[client]:
                del self._active[client]
        self.reports.ended(held, outcome)

    def _adapt(self) -> None:
        """The larger the pieces, the more may be woken together."""
        tick = piece_s(self.paced_responses) / 10
        self.clock.tick_s = min(max(tick, SHORTEST_TICK_S), LONGEST_TICK_S)

    def failed(self, what: str) -> None:
        """To be called in an `except`: that exchange goes on without us."""
        self.reports.failed(what)

    # -- change and end

    def change_policy(self, policy: Policy, version: str = "") -> None:
        """Use another policy: what is under way goes on under its rule's new rates, or runs free
        where its rule is gone.  Its clock (stages, `active`) starts anew with another name."""
        self.version = version
        if policy.name == self.policy.name:
            self._use(policy)
        else:
            self._start(policy)
        rules = {rule.name: rule for rule in policy.rules}
        for held in self.active():
            if held.rule is None:
                continue
            rule = rules.get(held.rule.name)
            try:
                if rule is None or rule.then.pass_:
                    held.run_free()
                else:
                    held.follow(rule)
            except Exception:  # fail open
                self.failed(held.subject)
                held.run_free()
            held.wake_at(self.now())

    def active(self) -> list[Held]:
        return [held for group in self._active.values() for held in group]

    def client_gone(self, client: Client) -> None:
        """Normally its streams have noticed; what is left over ends here."""
        for held in list(self._active.get(client.id, ())):
            held.ended("client-gone")

    def _part_changed(self, budget: Budget) -> None:
        self.schedule.touch(budget)
        self.clock.submitted()

    def _clock_is_common(self, elapsed_s: float, took_s: float) -> None:
        """So long ago this policy started, in the first of all processes; it took so long at most
        to be told that."""
        if -CLOCKS_DIFFER_S < self.elapsed_s - elapsed_s < took_s + CLOCKS_DIFFER_S:
            return
        elapsed_s += took_s / 2
        self.policy_started = self.now() - elapsed_s
        self.policy_started_unix = self.unix_time() - elapsed_s
        for held in self.active():
            if held.rule is not None and held.rule.then.stages:
                held.wake_at(self.now())
                held.follow_again()

    def clock_failed(self) -> None:
        """To be called in an `except`: nobody would be woken any more, so all run free."""
        self.reports.failed("its clock, so on all that is under way,")
        self.shared = Shared(self.store.parts if self.store else None)
        self.schedule = self.clock.schedule
        self.set_free()

    def set_free(self) -> None:
        """Let everything that is held go at once."""
        for held in self.active():
            held.run_free()
            if held.waker is not None:
                self.clock.soon(held.waker)

    def stop(self) -> None:
        self.reports.stopping = True
        self.set_free()
        if self.store is not None:
            self.store.stop()
        self.clock.stop()


def start(
    policy: Policy,
    proxyserver: Proxyserver,
    watchers: Watchers,
    marks: Marks,
    shared: tuple[Address, Down] | None = None,
) -> Engine:
    """A throttle in the running event loop; `shared`: where the store is, and what to do without
    it."""
    asyncio.get_running_loop()
    clock = Clock()
    store = Store(*shared, clock.now) if shared else None
    engine = Engine(policy, proxyserver, clock, watchers, marks, store)
    clock.on_failure = engine.clock_failed
    return engine
