"""Everything that the throttle knows while it runs: the policy, the clock, the budgets, what is
under way.

Rule: the addon talks to mitmproxy, the layers move bytes, and this holds what they share.  It
decides what a body is; how one lives and ends is the body's own business (bodies/body.py).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from functools import partial
from weakref import WeakSet

from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.flow import Flow
from mitmproxy.proxy import context, layer

from mitmthrottle.pacing import Budget, Quotas, Schedule, Shared, piece_s
from mitmthrottle.policy import (
    Block,
    BodyPart,
    Decider,
    Decision,
    Exchange,
    Plan,
    Policy,
    Rule,
    needs_more,
    plan_for,
)
from mitmthrottle.proxy.bodies.body import Body
from mitmthrottle.proxy.bodies.held import Held
from mitmthrottle.proxy.bodies.sniffing import Sniffing
from mitmthrottle.proxy.bodies.starts import StartLimits
from mitmthrottle.proxy.mitm import block
from mitmthrottle.proxy.mitm.connections import Connections
from mitmthrottle.proxy.mitm.wake import LONGEST_TICK_S, SHORTEST_TICK_S, Clock, Waker
from mitmthrottle.proxy.observe.mark import Marks
from mitmthrottle.proxy.observe.observer import Observers
from mitmthrottle.proxy.observe.reports import Reports
from mitmthrottle.proxy.observe.snapshot import EngineSnapshot, of_store
from mitmthrottle.proxy.observe.unpaced import Unpaced
from mitmthrottle.store import Address, Down, Store

from .facts import PAGE_HOST, exchange_of, host_of, is_address, upload_of, user_of

CLOCKS_DIFFER_S = 0.05  # between processes: not worth changing anything for


class Engine:
    """One running throttle."""

    def __init__(
        self,
        policy: Policy,
        proxyserver: Proxyserver,
        clock: Clock,
        observers: Observers,
        marks: Marks,
        store: Store | None = None,
    ) -> None:
        self.clock = clock
        self.now = clock.now
        self.submitted = clock.submitted
        self.store = store  # through which other processes share, if any do
        self.shared = Shared(store.allocations if store else None)
        self.quotas = Quotas(store.quota if store else None)
        self.starts = StartLimits(clock.now, store.starts.place if store else None)
        self.version = ""  # of the policy, see record.py
        self.held = Held()
        self.server_timing = False  # say in responses what is done to them
        self.paced_bodies = 0
        self.connections = Connections(proxyserver)
        self.reports = Reports(observers, marks, clock.now)
        self.stopped = False
        self._bodies: defaultdict[str, set[Body]] = defaultdict(set)  # by client connection
        self.http2_clients: WeakSet[layer.Layer] = WeakSet()
        """connections of clients that speak HTTP/2"""
        self._serial = 0
        self._start(policy)
        if store is not None:
            store.allocations.on_allocation = self._allocation_changed
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
        self._uploads = any(rule.then.paces_uploads for rule in policy.rules)
        self._blocks = any(rule.then.may_block for rule in policy.rules)
        if self.store is not None:
            self.store.use(policy.seed, policy.name)

    # -- deciding

    def might_match_host(self, host: str) -> bool:
        return self._decider.might_match_host(host)

    def might_match_any(self, names: set[str | None]) -> bool:
        """Likewise of a connection known by these names; True while only addresses are known, as
        in transparent mode before the first byte."""
        if self.stopped:
            return False
        known = [name for name in names if name and not is_address(name)]
        return not known or any(self._decider.might_match_host(name) for name in known)

    def paces_uploads(self) -> bool:
        """Whether any rule is for the bodies of requests."""
        return self._uploads

    @property
    def elapsed_s(self) -> float:
        """Since the policy's start."""
        return self.now() - self.policy_started

    def decide(self, exchange: Exchange) -> Decision:
        return self._decider.decide(exchange)

    @property
    def looks_at_requests(self) -> bool:
        """Whether a rule may be for a request before there is a response."""
        return self._blocks or self._uploads

    def blocks_request(self, flow: http.HTTPFlow) -> Rule | None:
        """Where the request alone tells that it will be blocked, it is answered, and the origin is
        not asked."""
        if not self._blocks or not self.concerns(flow):
            return None
        exchange = exchange_of(flow, self._next_serial(), self.elapsed_s)
        rule = self._decider.decide_request(exchange).rule
        if rule is None:
            return None
        said = plan_for("response", rule, exchange.elapsed_s)
        if said.block is None or said.quota is not None or rule.then.from_ != "policy":
            return None
        self.answer(flow, rule, said.block)
        return rule

    def request_body(self, flow: http.HTTPFlow) -> Body | None:
        """A request has a body, which may have an `upload` rule."""
        if not self._uploads or not self.concerns(flow):
            return None
        exchange = exchange_of(flow, self._next_serial(), self.elapsed_s)
        rule = self._decider.decide_upload(upload_of(flow, exchange)).rule
        if rule is None or not rule.then.paces_uploads:
            return None
        body = self._body("upload", flow, exchange)
        body.apply(rule)
        return body

    def response_body(self, flow: http.HTTPFlow, blocked_by: Rule | None) -> Body | None:
        """The response's headers are there: decide what becomes of it."""
        response = flow.response
        if response is None:
            return None
        host = host_of(flow)
        if host == PAGE_HOST:
            return None
        if not self._decider.might_match_host(host):
            # Not even looked at, unless somebody wants to know.
            if self.reports.observers.wants_unmatched:
                now = self.now()
                self.reports.host_unmatched(flow, now, now - self.policy_started, self.version)
            self.reports.unmatched += 1
            return None
        exchange = exchange_of(flow, self._next_serial(), self.elapsed_s)
        decision = Decision(blocked_by) if blocked_by else self.decide(exchange)
        self.reports.decided(flow, exchange, decision)
        rule = decision.rule
        undecided = decision.needs_first_bytes or decision.size_step is not None
        replayed = self.connections.handler_of(flow.client_conn) is None
        if replayed or (rule is None and not undecided) or (rule is not None and rule.then.pass_):
            self.reports.passes(flow, exchange, None if replayed else rule, self.version)
            return None
        body = self._body("response", flow, exchange)
        if rule is not None:
            self.reports.marks.begun(flow, rule)
            body.apply(rule)
            if blocked_by is not None and body.plan.block != "reset":
                body.answered = body.plan.block
        else:
            self._sniff(body, decision, flow, streamed=bool(response.stream))
        return body

    def _sniff(
        self,
        body: Body,
        decision: Decision,
        flow: http.HTTPFlow,
        *,
        streamed: bool,
        before: Sniffing | None = None,
    ) -> None:
        """Only its body can tell: look at it as it comes."""

        def decide(seen: Sniffing) -> None:
            known = body.exchange._replace(
                seen=seen.seen_bytes,
                complete=seen.complete,
                elapsed_s=self.elapsed_s,
                first_bytes=seen.first_bytes,
                first_bytes_complete=True,
            )
            body.exchange = known
            decision = self.decide(known)
            rule = decision.rule
            if rule is not None and rule.then.pass_:
                body.left_alone_by = rule
            elif rule is not None:
                self.reports.marks.begun(flow, rule)
                body.apply(rule)
            elif decision.needs_first_bytes or decision.size_step is not None:
                self._sniff(body, decision, flow, streamed=streamed, before=seen)
            self.reports.decided(flow, known, decision)
            if not body.headers_sent:
                body.collected = body.rule is None and body.sniffing is None and not streamed

        body.sniffing = Sniffing(
            decide,
            holds=decision.needs_first_bytes,
            ask_at_bytes=decision.size_step,
            needs_more=partial(
                needs_more,
                content_type=body.exchange.content_type,
                content_encoding=body.exchange.content_encoding,
            ),
            before=before,
        )

    def unpaced(self, flow: http.HTTPFlow) -> Unpaced | None:
        """Who is told of this response that no rule slows, if somebody is."""
        passing = self.reports.passing
        return passing.get(flow.id) if passing else None

    def relayed(
        self, ctx: context.Context, name: str | None, scheme: str, flow: Flow | None
    ) -> list[Body]:
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
        return self._both_ways("relay-down", "relay-up", ctx, exchange, flow)

    def websocket(self, ctx: context.Context, flow: http.HTTPFlow) -> list[Body]:
        """A WebSocket was agreed upon: decide what becomes of its messages."""
        if not self.concerns(flow):
            return []
        exchange = exchange_of(flow, self._next_serial(), self.elapsed_s)
        return self._both_ways("websocket-down", "websocket-up", ctx, exchange, flow)

    def _both_ways(
        self,
        down: BodyPart,
        up: BodyPart,
        ctx: context.Context,
        exchange: Exchange,
        flow: Flow | None,
    ) -> list[Body]:
        rule = self.decide(exchange).rule
        if rule is None or rule.then.pass_ or self.connections.handler_of(ctx.client) is None:
            return []
        if flow is not None:
            self.reports.marks.begun(flow, rule)
        bodies = [
            Body(
                self, part, exchange, client_id=ctx.client.id, flow=flow,
                flow_id=flow.id if flow is not None else ctx.client.id,
            )
            for part in (down, up)
        ]  # fmt: skip
        for body in bodies:
            body.apply(rule)
        return bodies

    def _body(self, part: BodyPart, flow: http.HTTPFlow, exchange: Exchange) -> Body:
        client_id = flow.client_conn.id
        return Body(self, part, exchange, client_id=client_id, flow=flow, flow_id=flow.id)

    def answer(self, flow: http.HTTPFlow, rule: Rule, how: Block) -> None:
        """Put our answer in the place of the origin's."""
        flow.response = block.answer(how, rule.name, flow.request.method)

    def concerns(self, flow: http.HTTPFlow) -> bool:
        """Whether any rule could match: most traffic of most proxies ends here."""
        host = host_of(flow)
        return host != PAGE_HOST and self._decider.might_match_host(host)

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    # -- what the bodies call

    @property
    def schedule(self) -> Schedule:
        return self.clock.schedule

    def unix_time(self) -> float:
        return time.time()

    def refuses(self, plan: Plan) -> bool:
        """Whether it would share something while nobody says what its part is."""
        return self.store is not None and self.store.blocks and plan.shares

    def began(self, body: Body) -> None:
        self.paced_bodies += 1
        self._adapt()
        self._bodies[body.client_id].add(body)
        self.reports.began(body)

    def ended(self, body: Body, outcome: str) -> None:
        of_client = self._bodies.get(body.client_id)
        if of_client is not None and body in of_client:
            self.paced_bodies -= 1
            self._adapt()
            of_client.discard(body)
            if not of_client:
                del self._bodies[body.client_id]
        self.reports.ended(body, outcome)

    def _adapt(self) -> None:
        """The larger the pieces, the more may be woken together."""
        tick = piece_s(self.paced_bodies) / 10
        self.clock.tick_s = min(max(tick, SHORTEST_TICK_S), LONGEST_TICK_S)

    def failed(self, what: str) -> None:
        """To be called in an `except`: that exchange goes on without us."""
        self.reports.failed(what)

    def failed_beyond(self, what: str) -> None:
        """Likewise: what a body was handed on to has failed, and its exchange ends."""
        self.reports.failed_beyond(what)

    def forget(self, flow: http.HTTPFlow) -> None:
        """The flow has failed."""
        self.reports.has_passed(flow)

    # -- change and end

    def change_policy(self, policy: Policy, version: str = "") -> None:
        """Use another policy: what is under way goes on under its rule's new rates, or runs free
        where its rule is gone.  Its clock (stages, `active`) starts anew with another name."""
        self.version = version
        paced_uploads = self._uploads
        if policy.name == self.policy.name:
            self._use(policy)
        else:
            self._start(policy)
        if self._uploads is not paced_uploads:
            self._tell_http2_clients()
        rules = {rule.name: rule for rule in policy.rules}
        for body in self.active():
            if body.rule is not None:
                self._apply(body, rules.get(body.rule.name))

    def _tell_http2_clients(self) -> None:
        """Their windows have to be other ones before they send the next body."""
        for connection in list(self.http2_clients):
            handler = self.connections.handler_of(connection.context.client)
            if handler is not None:
                self.clock.soon(Waker(connection, handler, self.clock))

    def _apply(self, body: Body, rule: Rule | None) -> None:
        """Let that body go on as the rule says now; None: it is gone."""
        try:
            if rule is None or rule.then.pass_:
                body.stop_pacing()
            else:
                body.apply(rule)
        except Exception:  # fail open
            self.failed(body.subject)
            body.stop_pacing()
        if body.wakeup is not None:
            body.wakeup.at(self.now())

    def active(self) -> list[Body]:
        return [body for group in self._bodies.values() for body in group]

    def snapshot(self) -> EngineSnapshot:
        """How it is now, in plain values."""
        now = self.now()
        return EngineSnapshot(
            policy=self.policy,
            version=self.version,
            decider=self._decider,
            policy_started_unix=self.policy_started_unix,
            elapsed_s=now - self.policy_started,
            bodies=tuple([body.snapshot(now) for group in self._bodies.values() for body in group]),
            unmatched_responses=self.reports.unmatched,
            outcomes=dict(self.reports.counts),
            not_held=self.held.not_held,
            store=of_store(self.store) if self.store is not None else None,
        )

    def client_gone(self, client: Client) -> None:
        """Normally its layers have noticed; what is left over ends here."""
        for body in list(self._bodies.get(client.id, ())):
            body.close("client-gone")
        self.quotas.forget(client.id)

    def _allocation_changed(self, budget: Budget) -> None:
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
        for body in self.active():
            if body.rule is not None and body.rule.then.stages:
                self._apply(body, body.rule)

    def clock_failed(self) -> None:
        """To be called in an `except`: nobody would be woken any more, so all run free."""
        self.reports.failed("its clock, so on all that is under way,")
        self.shared = Shared(self.store.allocations if self.store else None)
        for body in self.active():
            body.stop_pacing()
            self._wake_soon(body)

    def wake_failed(self) -> None:
        """To be called in an `except`: one connection could not be woken."""
        self.reports.failed("waking a connection")

    def _wake_soon(self, body: Body) -> None:
        if isinstance(body.wakeup, Waker):
            self.clock.soon(body.wakeup)

    def stop(self) -> None:
        """What is under way is no longer paced: each body ends here for us, as `stopped`, and what
        is left of it passes as it comes.  Layers that are there stay ours and go on asking: no rule
        is for anything any more."""
        self.stopped = True
        self._use(self.policy.model_copy(update={"rules": ()}))
        for reader in self.connections.reading_little:
            reader.limit(None)
        self.connections.reading_little.clear()
        for body in self.active():
            self._wake_soon(body)
            body.close("stopped")
        if self.store is not None:
            self.store.stop()
        self.clock.stop()


def start(
    policy: Policy,
    proxyserver: Proxyserver,
    observers: Observers,
    marks: Marks,
    shared: tuple[Address, Down] | None = None,
) -> Engine:
    """A throttle in the running event loop; `shared`: where the store is, and what to do without
    it."""
    asyncio.get_running_loop()
    clock = Clock()
    store = Store(*shared, clock.now) if shared else None
    engine = Engine(policy, proxyserver, clock, observers, marks, store)
    clock.on_failure = engine.clock_failed
    clock.on_wake_failure = engine.wake_failed
    return engine
