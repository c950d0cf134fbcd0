"""A body under a rule, from its headers to its end.

Rule: one owner, one end.  Whoever notices the end (the stream, a hook, a client that is gone, the
proxy stopping, an error) calls `close`, which gives everything back; after it nothing refers to the
body.  An error of ours never stops a body: it is logged and counted, and the body runs free.

Theory of operation.  What comes from the sender is pushed into the queue.  The layer that carries
the body asks `next_item` what may pass now, until it says None; then `settle` sees to the sender
and to the next wake-up.  What the rule says is a plan, and `_apply` is the one place where a plan
takes hold: at the start, in the next stage, after a reload or a command, when a quota is used up or
free again, and when the rule is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from mitmthrottle.pacing import (
    MAX_PIECE_BYTES,
    Budget,
    Claim,
    Pace,
    Quota,
    Quotas,
    Schedule,
    Shared,
    Timeline,
)
from mitmthrottle.policy import (
    FREE,
    NO_LIMITS,
    Block,
    BodyPart,
    Exchange,
    Limits,
    Plan,
    Rule,
    plan_for,
)

from .budgets import Parties, budgets_for, delay_s
from .budgets import remembered_s as quota_remembered_s
from .held import Held
from .meter import Meter
from .peers import Reader, Wakeup
from .queue import BodyQueue, Item, Mark, Tail
from .record import BodySnapshot, BodyState, Direction, Record, RecordKind
from .sniffing import Sniffing
from .starts import StartLimits, StartPlace

BLOCKED_BYTES = 128 * 1024  # what may wait for a receiver's socket before its pace is held
FIRST_POLL_S = 0.02  # first look again at a receiver that does not read
LONGEST_POLL_S = 0.2
# mitmproxy closes a connection on which nothing happens (tcp_timeout, 600 s; 20 s over UDP).  A
# wake-up counts as something, so nobody who holds something sleeps longer than this, and never
# longer than a third of that time-out.
LONGEST_SLEEP_S = 10.0

# A quarter of the smallest window: HTTP/2 tells the sender by half windows anyway.
ACKNOWLEDGE_BYTES = 16 * 1024
# How much of a body may wait in its queue before its sender is stopped.
SMALL_QUEUE_BYTES = 16 * 1024
LARGE_QUEUE_BYTES = 256 * 1024
QUEUE_S = 0.05  # at high rates, in seconds of the rate

_KINDS: dict[BodyPart, tuple[RecordKind, Direction]] = {
    "response": ("response", "down"),
    "upload": ("upload", "up"),
    "relay-down": ("opaque", "down"),
    "relay-up": ("opaque", "up"),
    "websocket-down": ("websocket", "down"),
    "websocket-up": ("websocket", "up"),
}


def queue_bytes(rate_bytes_per_s: float | None) -> int:
    """How much of a body at that rate may wait in its queue before the sender is stopped."""
    return int(min(max((rate_bytes_per_s or 0) * QUEUE_S, SMALL_QUEUE_BYTES), LARGE_QUEUE_BYTES))


class Runtime(Protocol):
    """The running throttle, as far as a body has to do with it."""

    version: str
    """of the policy in force, see record.py"""
    seed: str
    policy_started: float
    """seconds of `now`"""
    policy_started_unix: float
    paced_bodies: int
    shared: Shared
    quotas: Quotas
    starts: StartLimits
    held: Held

    @property
    def schedule(self) -> Schedule: ...
    def now(self) -> float: ...
    def unix_time(self) -> float: ...
    def submitted(self) -> None:
        """A claim was handed to the schedule, or taken back."""

    def refuses(self, plan: Plan) -> bool:
        """Whether a body with this plan is not to begin now."""

    def began(self, body: Body) -> None: ...
    def ended(self, body: Body, outcome: str) -> None: ...
    def failed(self, what: str) -> None:
        """To be called in an `except`: that body goes on unthrottled."""


class Body:
    """One body; `part` says which of its exchange."""

    # As attributes in a dictionary they would be 3 KB a body, and a look at a thousand bodies would
    # take nearly twice as long.
    __slots__ = (
        "__weakref__",
        "_asked",
        "_began",
        "_began_within_quota",
        "_delay_s",
        "_ends_at_bytes",
        "_held_since",
        "_is_held",
        "_own",
        "_pace",
        "_parties",
        "_place",
        "_poll_s",
        "_quota",
        "_runtime",
        "_said",
        "_stage_ends",
        "_starts_from",
        "_timeline",
        "_unacknowledged_bytes",
        "_unsent_bytes",
        "_waited_s",
        "_wake_at",
        "_window_told",
        "answered",
        "client_id",
        "closed",
        "collected",
        "direction",
        "exchange",
        "flow",
        "flow_controlled",
        "flow_id",
        "headers_sent",
        "kind",
        "left_alone_by",
        "longest_sleep_s",
        "meter",
        "part",
        "plan",
        "queue",
        "reader",
        "reads_when_empty",
        "receives_headers",
        "rule",
        "sniffing",
        "version",
        "wakeup",
        "window_bytes",
    )

    def __init__(
        self,
        runtime: Runtime,
        part: BodyPart,
        exchange: Exchange,
        *,
        client_id: str,
        flow: object | None,
        flow_id: str,
    ) -> None:
        self.part = part
        self.kind, self.direction = _KINDS[part]
        self.exchange = exchange
        self.client_id = client_id
        self.flow = flow
        """mitmproxy's, where there is one: for those who are told"""
        self.flow_id = flow_id
        self.version = runtime.version  # of the policy that decided
        self.rule: Rule | None = None
        self.closed = False
        self.headers_sent = False
        self.queue = BodyQueue()
        self.meter = Meter()
        self.answered: Block | None = None
        """what our own answer, in the place of the origin's, was made for"""
        self.sniffing: Sniffing | None = None
        """set while only the body can tell which rule it is"""
        self.left_alone_by: Rule | None = None
        """an exception (`pass`) that only the body told of"""
        self.collected = False
        """no rule holds after all: mitmproxy collects it whole, as it would without us"""
        self.receives_headers = part in ("response", "upload")
        """its headers wait with it; else it begins with its first byte"""
        self.flow_controlled = False
        """its sender's HTTP/2 connection waits for what we acknowledge"""
        self.reader: Reader | None = None
        self.window_bytes: Callable[[float], int] | None = None
        """where several bodies share the connection: what a window allows its sender at a rate, so
        that its reader is paused only for what was sent beyond that"""
        self.reads_when_empty = False
        """its sender is not read while anything of it is held, see relay.py"""
        self.longest_sleep_s = LONGEST_SLEEP_S
        self._runtime = runtime
        self.wakeup: Wakeup | None = None
        self._unsent_bytes: Callable[[], int] = _nothing
        self._parties = Parties.of(exchange, client_id)
        self._began = runtime.now()
        self._starts_from = self._began  # its delay counts from here
        self._held_since = self._began if self.receives_headers else None
        self._waited_s = 0.0
        # -- what the rule says
        self._said = FREE  # at this stage
        self.plan = FREE  # and of that, what is in force
        self._stage_ends = math.inf
        self._quota: Quota | None = None
        self._began_within_quota = False
        self._delay_s = 0.0
        self._timeline: Timeline | None = None
        self._is_held: bool | None = None  # before its start; None: it has not had to be
        self._ends_at_bytes = math.inf  # where it is cut although its sender is gone
        self._place: StartPlace | None = None  # in the line of those who wait to start
        # -- its way through its budgets
        self._pace: Pace | None = None  # made when first needed
        self._own: dict[int, Budget] = {}
        self._asked = False  # the schedule, for the next piece
        self._poll_s = FIRST_POLL_S
        self._wake_at = math.inf
        self._unacknowledged_bytes = 0
        self._window_told: tuple[float, int | None] | None = None

    def __repr__(self) -> str:
        rule = self.rule.name if self.rule else "undecided"
        state = "closed" if self.closed else "asked" if self._asked else "open"
        return f"Body({self.part}, {rule}, {state}, {self.queue}, {self.sent_bytes} B sent)"

    # -- what others may know

    @property
    def subject(self) -> str:
        """What this is, for a log."""
        return f"{self.exchange.method} {self.exchange.host}{self.exchange.path}"

    @property
    def sent_bytes(self) -> int:
        return self.meter.sent_bytes

    @property
    def waits_to_block(self) -> bool:
        """Whether nothing of it is to pass, although nothing has taken its place yet."""
        begun = self.closed or self.headers_sent or self.answered is not None
        return self.plan.block is not None and not begun

    @property
    def age_s(self) -> float:
        """Seconds since the message's headers came."""
        return self._runtime.now() - self._began

    @property
    def waited_s(self) -> float:
        """Seconds during which something was held back: headers, bytes or the end."""
        held = self._runtime.now() - self._held_since if self._held_since is not None else 0.0
        return self._waited_s + held

    @property
    def measured_bytes_per_s(self) -> float | None:
        """Goodput of what has gone out so far, see meter.py."""
        return self.meter.bytes_per_s

    @property
    def asked_bytes_per_s(self) -> float | None:
        """The lowest rate that its rule names now, shared or not; None where it names none."""
        return self._said.limits.lowest_bytes_per_s

    @property
    def rate_bytes_per_s(self) -> float | None:
        """What it may have now, shared budgets shared; None: no limit."""
        if not self.plan.limits.rate:
            return None
        if self._pace is not None:
            return self._pace.rate_bytes_per_s
        return self.plan.limits.lowest_bytes_per_s

    def snapshot(self, now: float) -> BodySnapshot:
        """How far it is at this moment of its clock."""
        rate = self.rate_bytes_per_s
        state: BodyState
        if self._place is not None:
            state = "waiting to start"
        elif not self.headers_sent:
            state = "delayed"
        else:
            state = "unlimited" if rate is None else "paced"
        meter, held_since = self.meter, self._held_since
        return BodySnapshot(  # in the order of its fields, since names take their time
            self.kind,
            self.direction,
            self.flow_id,
            self.client_id,
            self.exchange,
            self.rule,
            state,
            meter.sent_bytes,
            self.queue.waiting_bytes,
            rate,
            meter.bytes_per_s,
            now - self._began,
            None if held_since is None else now - held_since,
        )

    def record(self, outcome: str) -> Record:
        """What became of it, now that it has ended like that."""
        if self.answered is not None and outcome == "complete":
            outcome = "blocked"
        return Record(
            kind=self.kind,
            direction=self.direction,
            flow_id=self.flow_id,
            time=self.exchange.time,
            exchange=self.exchange,
            rule=self.rule or self.left_alone_by,
            asked_bytes_per_s=self.asked_bytes_per_s,
            measured_bytes_per_s=self.measured_bytes_per_s,
            sent_bytes=self.sent_bytes,
            waited_s=self.waited_s,
            duration_s=self.age_s,
            outcome=outcome,
            version=self.version,
        )

    # -- its life

    def begin(
        self,
        wakeup: Wakeup,
        reader: Reader | None,
        unsent_bytes: Callable[[], int],
        *,
        flow_controlled: bool = False,
        timeout_s: float = math.inf,
    ) -> None:
        """It is carried from now on, by a layer that `wakeup` wakes.

        `unsent_bytes` tells what waits in the proxy for the receiver; `timeout_s`: mitmproxy closes
        a connection on which nothing happens for so long.
        """
        self.wakeup = wakeup
        self._unsent_bytes = unsent_bytes
        self.reader = reader
        self.flow_controlled = flow_controlled
        self.longest_sleep_s = min(LONGEST_SLEEP_S, timeout_s / 3)
        self._limit_reader()
        self._runtime.began(self)

    def close(self, outcome: str) -> None:
        """Its one end; what is left in the queue is the caller's to pass on or to drop."""
        if self.closed:
            return
        self.closed = True
        for give_back in (
            self._withdraw,
            self._leave_line,
            self._is_held_no_more,
            self._let_reader_go,
            self._wake_no_more,
        ):
            try:
                give_back()
            except Exception:  # fail open: the rest is given back all the same
                self._runtime.failed(self.subject)
        self._runtime.ended(self, outcome)

    def stop_pacing(self) -> None:
        """Its rule is gone: what is held goes out at once, the rest as it comes."""
        self._stage_ends = math.inf
        self._quota = None
        self.sniffing = None
        try:
            self._apply_plan(FREE)
        except Exception:  # fail open, whatever state that was
            self._runtime.failed(self.subject)
            self._pace = self._timeline = self._place = None
            self.plan = FREE
            self._asked = False

    def sender_gone(self) -> None:
        """What is held goes out at once, but no further than to where it is cut."""
        if self._timeline is not None:
            self._ends_at_bytes = self._timeline.cut_bytes
        self.stop_pacing()

    # -- what comes and what goes

    def push(self, data: bytes | bytearray | memoryview) -> None:
        self._hold()
        self.queue.push(data)
        if self.sniffing is not None:
            self.sniffing.saw(data, self._runtime.now())

    def push_tail(self, what: object, *, ends: bool) -> None:
        """Trailers or the end of the message: they go out behind the body."""
        self._hold()
        self.queue.push_tail(Tail(what, ends))
        if self.sniffing is not None and ends:
            self.sniffing.complete = True

    def next_item(self) -> Item | None:
        """What may pass now; None: nothing, until it is woken or something comes."""
        if self.closed:
            return None
        try:
            return self._next_item()
        except Exception:  # fail open: see the rule above
            self._runtime.failed(self.subject)
            self.stop_pacing()
            return self.next_of_all()

    def _most_waiting_bytes(self) -> int:
        """How much of it may wait before its sender is stopped."""
        if self.reads_when_empty:
            return 1
        rate = self.rate_bytes_per_s
        if self.window_bytes is None:
            return queue_bytes(rate)
        return self.window_bytes(math.inf if rate is None else rate) + LARGE_QUEUE_BYTES

    def next_of_all(self) -> Item | None:
        """Whatever is next, whether or not it may pass: its sender is gone, or it was closed."""
        if not self.headers_sent:
            self.headers_sent = True
            self._is_held_no_more()
            if self.receives_headers:
                return Mark.HEADERS
        room = self._ends_at_bytes - self.sent_bytes
        if room <= 0:
            self._ends_at_bytes = math.inf
            self.queue.clear()
            return Mark.CUT
        if waiting := self.queue.contiguous_bytes:
            return self._take(int(min(waiting, room)))
        return self._tail()

    def settle(self) -> None:
        """To be called when `next_item` has said None: stop or start the sender, and be woken when
        something may pass."""
        if self.closed:
            return
        try:
            self._settle()
        except Exception:  # fail open: see the rule above
            self._runtime.failed(self.subject)
            self.stop_pacing()
            self._wake_now()

    def _settle(self) -> None:
        if self.reader is not None:
            if self.queue.waiting_bytes >= self._most_waiting_bytes():
                self.reader.pause()
            else:
                self.reader.resume()
        if self.wakeup is not None:
            when = min(self._wake_at, self._stage_ends)
            if self._held_since is not None:
                when = min(when, self._runtime.now() + self.longest_sleep_s)
            self._wake_at = math.inf
            if when < math.inf:
                self.wakeup.at(when)

    def to_acknowledge(self, size: int) -> int:
        """Bytes to acknowledge to the sender now that `size` more have gone on: not each piece."""
        self._unacknowledged_bytes += size
        if self._unacknowledged_bytes < ACKNOWLEDGE_BYTES:
            return 0
        size, self._unacknowledged_bytes = self._unacknowledged_bytes, 0
        return size

    def window(self) -> tuple[float, int | None] | None:
        """(bytes/s, bytes) that the window of its sender's stream has to bear, where that is news:
        infinity as fast as may be; no more than so many bytes under way, None: no such bound."""
        rate = self.rate_bytes_per_s
        left = self._quota_left_bytes() if self._quota is not None else 0
        wanted = (
            math.inf if rate is None else rate,
            left if left and self._said.limits.rate else None,
        )
        told = self._window_told
        if told is not None and _is_near(told[0], wanted[0]) and _is_near(told[1], wanted[1]):
            return None
        self._window_told = wanted
        return wanted

    def _next_item(self) -> Item | None:
        if self.sniffing is not None:
            self._sniff(self.sniffing)
        self._look_at_clock()
        plan = self.plan
        if plan.block is not None and (item := self._block(plan.block)) is not None:
            return item
        if not self.headers_sent:
            if not self.receives_headers and not self.queue:
                return None
            if not self._may_start():
                return None
            self.headers_sent = True
            self._is_held_no_more()
            now = self._runtime.now()
            for budget in self._own.values():
                budget.start_afresh(now)
            if self.receives_headers:
                return Mark.HEADERS
        if self._timeline is not None and self._timeline.is_cut(self.sent_bytes):
            return Mark.CUT
        if self.queue.contiguous_bytes:
            size = self._may_send()
            return self._take(size) if size else None
        return self._tail()

    def _tail(self) -> Tail | None:
        tail = self.queue.pop_tail()
        if not self.queue and self._held_since is not None:
            self._waited_s += self._runtime.now() - self._held_since
            self._held_since = None
        return tail

    def _take(self, size: int) -> bytes:
        self.meter.passed(size, self._runtime.now())  # first: what raises must lose nothing
        data = self.queue.take(size)
        if not self.queue:
            self._tail()
        return data

    def _hold(self) -> None:
        if self._held_since is None:
            self._held_since = self._runtime.now()

    # -- when may it start

    def _sniff(self, sniffing: Sniffing) -> None:
        """Decide, if its bytes tell enough by now."""
        if sniffing.is_enough(self._runtime.now()):
            self.sniffing = None
            sniffing.decide(sniffing)
        elif sniffing.give_up_at < math.inf:
            self._wake(sniffing.give_up_at)

    def _may_start(self) -> bool:
        if self.sniffing is not None and self.sniffing.holds:
            return False
        now = self._runtime.now()
        if self._place is not None:
            when = self._place.may_start(now)
            if when > now and self._may_be_held(now):
                self._wake(when)
                return False
            self._leave_line()
            self._starts_from = now
        start = self._starts_from + self._delay_s
        if start > now and self._may_be_held(now):
            self._wake(start)
            return False
        return True

    def _may_be_held(self, now: float) -> bool:
        """Before its start; asked once, for the first time that it would have to be."""
        if self._is_held is None:
            self._is_held = self._runtime.held.take(self.exchange.client_identity, now)
        return self._is_held

    def _is_held_no_more(self) -> None:
        if self._is_held:
            self._is_held = False
            self._runtime.held.release(self.exchange.client_identity)

    def _block(self, block: Block) -> Mark | None:
        """Blocked: an answer takes the place of what has not begun, and a reset of what has."""
        if self.answered is not None and (self.headers_sent or block == self.answered):
            return None  # it is that answer which passes
        if self.part == "response" and not self.headers_sent and block != "reset":
            return Mark.BLOCK
        if self.headers_sent or (block != "timeout" and self._may_start()):
            return Mark.BLOCK
        if block == "timeout" and not self._may_be_held(self._runtime.now()):
            return Mark.BLOCK
        return None

    # -- how much may it send

    def _may_send(self) -> int:
        """How many bytes may leave now; 0: not now."""
        waiting = self.queue.contiguous_bytes
        if self._asked:
            claim = self._pace.claim if self._pace else None
            if claim is not None and claim.waiting:
                return 0
            self._asked = False
            if claim is not None:  # the schedule has let it through
                return min(claim.size, waiting)
        now = self._runtime.now()
        if self._unsent_bytes() > BLOCKED_BYTES:
            # It would wait in the proxy.
            self._wake(now + self._poll_s)
            self._poll_s = min(2 * self._poll_s, LONGEST_POLL_S)
            return 0
        self._poll_s = FIRST_POLL_S
        if self._quota is not None and (size := self._from_quota(waiting)):
            return size
        claim = self._claim()
        size = self._pace.piece_bytes(self._runtime.paced_bodies) if self._pace else MAX_PIECE_BYTES
        size = min(size, waiting)
        if self._timeline is not None:
            room = self._timeline.room_bytes(self.sent_bytes, now)
            if room <= 0:
                self._wake(self._timeline.resume_at)
                return 0
            size = int(min(size, room))
        if claim is None or self._runtime.schedule.submit(claim, size, now):
            return size
        self._asked = True
        self._runtime.submitted()
        return 0

    def _from_quota(self, waiting: int) -> int:
        """Bytes that may leave at full speed now."""
        quota = self._quota
        if quota is None:
            return 0
        period = self._period()
        size = min(quota.at_hand_bytes(period), MAX_PIECE_BYTES, waiting)
        return size if size and quota.take(size, period) else 0

    def _claim(self) -> Claim | None:
        # Of a shared quota that is not used up there may be nothing at hand: then the rate holds.
        limits = self.plan.limits if self._quota is None else self._said.limits
        if self._pace is None and limits.rate:
            now = self._runtime.now()
            budgets = budgets_for(limits, self._parties, self._runtime.shared, self._own, now)
            self._pace = Pace(0.0, Claim(budgets, self.wakeup))
        return self._pace.claim if self._pace else None

    def _wake(self, when: float) -> None:
        self._wake_at = min(self._wake_at, when)

    # -- what the rule says

    def apply(self, rule: Rule) -> None:
        """Go on as this rule says now: it was found, it has changed, or its next stage began."""
        first = self.rule is None
        self.rule = rule
        runtime = self._runtime
        counted_from = self._began if rule.then.from_ == "response" else runtime.policy_started
        said = plan_for(self.part, rule, runtime.now() - counted_from)
        self._stage_ends = counted_from + said.until_s
        if first and runtime.refuses(said):
            said = said.refused()
        self._said = said
        self._quota = self._quota_of(rule, said)
        if first:
            self._began_within_quota = self._quota_left_bytes() > 0
        self._apply_plan(self._in_force())

    def _in_force(self) -> Plan:
        quota = self._quota
        return self._said.in_force(
            within_quota=self._quota_left_bytes() > 0,
            began_within_quota=quota is not None and self._began_within_quota,
        )

    def _look_at_clock(self) -> None:
        """The next stage may have begun, and a quota may be used up, or free again."""
        rule = self.rule
        if rule is None:
            return
        if self._runtime.now() >= self._stage_ends:
            self.apply(rule)
        elif self._quota is not None and (now := self._in_force()) != self.plan:
            self._apply_plan(now)

    def _apply_plan(self, new: Plan) -> None:
        """The one place where a body changes: from the plan that held to this one."""
        old, self.plan = self.plan, new
        if not self.headers_sent:
            rule = self.rule.name if self.rule else ""
            way = ("upload",) if self.part == "upload" else ()
            self._delay_s = delay_s(new, self._runtime.seed, rule, *way, self.exchange.serial)
            if new.starts != old.starts:
                self._take_line(new, rule)
        if (new.silences, new.cut_after_bytes) != (old.silences, old.cut_after_bytes):
            self._timeline = self._timeline_of(new)
        self._draw_from(new.limits)
        self._limit_reader()

    def _take_line(self, new: Plan, rule: str) -> None:
        """Wait in the line of `requests`; in another one, or none, where the rule has changed."""
        if self._place is not None:
            self._leave_line()
            self._starts_from = self._runtime.now()
        if new.starts:
            self._place = self._runtime.starts.join(rule, new.starts, self._parties, self._wake_now)

    def _timeline_of(self, new: Plan) -> Timeline | None:
        """Silences and a cut are places in the body, counted from its first byte."""
        if not new.silences and new.cut_after_bytes is None:
            return None
        sent, now = self.sent_bytes, self._runtime.now()
        if self._timeline is not None:
            return self._timeline.replaced(new.silences, new.cut_after_bytes, sent, now)
        seed = f"{self._runtime.seed}/{self.exchange.serial}"
        return Timeline(new.silences, new.cut_after_bytes, sent_bytes=sent, seed=seed)

    def _draw_from(self, limits: Limits) -> None:
        """Draw from these budgets; a claim is made when the first bytes want to leave."""
        if limits == NO_LIMITS:
            self._withdraw()
        elif self._pace is not None and self._pace.claim is not None:
            now, schedule = self._runtime.now(), self._runtime.schedule
            budgets = budgets_for(limits, self._parties, self._runtime.shared, self._own, now)
            if self._pace.claim.budgets != budgets:
                self._withdraw()
            else:
                for budget in budgets:
                    schedule.touch(budget)
                self._runtime.submitted()

    def _withdraw(self) -> None:
        """Give back what it waits for and holds at its budgets."""
        claim = self._pace.claim if self._pace else None
        self._pace = None
        self._asked = False
        if claim is not None:
            self._runtime.schedule.withdraw(claim, self._runtime.now())
            self._runtime.submitted()

    def _leave_line(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.leave()

    def _limit_reader(self) -> None:
        if self.reader is not None and self.window_bytes is None and not self.closed:
            self.reader.limit(queue_bytes(self.rate_bytes_per_s))

    def _let_reader_go(self) -> None:
        reader, self.reader = self.reader, None
        if reader is not None:
            if self.window_bytes is None:
                reader.limit(None)
            reader.resume()

    def _wake_now(self) -> None:
        if self.wakeup is not None:
            self.wakeup.at(self._runtime.now())

    def _wake_no_more(self) -> None:
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is not None:
            wakeup.close()

    # -- its quota

    def _quota_of(self, rule: Rule, said: Plan) -> Quota | None:
        quota = said.quota
        if quota is None:
            return None
        if quota.per == "response":
            if self._quota is None:
                return Quota(quota.free_bytes)
            self._quota.free_bytes = quota.free_bytes
            return self._quota
        return self._runtime.quotas.get(
            (rule.name, quota.per, quota.every),
            self._parties.behind(quota.per),
            quota.free_bytes,
            self._period(said),
            keep_s=quota_remembered_s(quota),
            here_only=quota.per == "connection",
        )

    def _quota_left_bytes(self) -> int:
        return self._quota.left_bytes(self._period()) if self._quota is not None else 0

    def _period(self, said: Plan | None = None) -> int | None:
        quota = (said or self._said).quota
        if quota is None:
            return None
        return quota.window(self._runtime.unix_time(), self._runtime.policy_started_unix)


def _is_near(told: float | None, wanted: float | None) -> bool:
    """Whether the difference is not worth a word to the sender."""
    if told is None or wanted is None or math.isinf(told) or math.isinf(wanted):
        return told == wanted
    return 0.8 * told <= wanted <= 1.25 * told


def _nothing() -> int:
    return 0
