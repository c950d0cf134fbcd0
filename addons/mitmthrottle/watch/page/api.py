"""The JSON of `/api/state`: what the page and `mitmthrottle top` read.

Rule: field names are stable once shipped, quantities are in SI units, and null means that it is
not known or does not apply. docs/live-page.md says the same for people.
"""

from __future__ import annotations

from typing import Literal, TypedDict

type Progress = Literal["waits its turn", "delayed", "paced", "free"]


class Reader(TypedDict):
    """Who is asking, and what that means."""

    address: str | None
    sees: Literal["everything", "own"]
    """own: no traffic of other clients, no file, no errors' texts"""
    may_switch: bool
    why_not: str | None
    token: str | None
    """for the header X-Throttle-Token of a switch; null for those who may not"""


class Refused(TypedDict):
    """A newer version of the file that does not load."""

    time: float
    faults: list[str]
    """`file:line:column: what is wrong`; empty for a reader who sees only their own"""


class PolicyInForce(TypedDict):
    """The policy that decides now."""

    name: str
    description: str
    version: str
    file: str | None
    """its name without the folder"""
    rules: int
    loaded: float
    """Unix time"""
    reloads: int
    refused: Refused | None


class Stage(TypedDict):
    """Which of a rule's stages is in force, where they count from the policy's start."""

    number: int | None
    """from 1; null: after the last"""
    of: int
    ends_in_s: float | None


class Sampled(TypedDict):
    """Asked beside measured, of one rule."""

    asked_bytes_per_s: float | None
    """what its bodies may have now, all together; null: no limit"""
    measured_bytes_per_s: float
    asked: list[float | None]
    """the newest last, see `samples`"""
    measured: list[float]


class RuleState(Sampled):
    """What one rule does now."""

    name: str
    line: int
    effects: str
    """all that the rule says"""
    says_now: str
    """what of it holds at this moment, with what commands have changed"""
    hosts: list[str] | None
    """null: any"""
    stage: Stage | None
    in_force: bool
    """whether its `active` holds now"""
    switched_off: bool
    changed: bool
    """a command has changed it"""
    reverts_in_s: float | None
    active: int
    matched: int
    bytes: int


class AskedFor(TypedDict):
    """Who asked for what."""

    client: str
    method: str
    host: str
    path: str


class ActiveBody(AskedFor):
    """A body under way."""

    id: str
    kind: str
    direction: str
    rule: str
    line: int
    bytes: int
    size_bytes: int | None
    asked_bytes_per_s: float | None
    """what it may have now, shared budgets shared"""
    measured_bytes_per_s: float | None
    """over the last second; its mean where it is newer"""
    age_s: float
    state: Progress


class ClientState(TypedDict):
    """A client of the last hours."""

    address: str
    user: str | None
    device: str | None
    active: int
    decided: int
    matched: int
    bytes: int
    """of slowed bodies"""
    last: float


class Why(TypedDict):
    """As `explain` says it."""

    rule: str
    condition: str | None
    reason: str


class Decided(AskedFor):
    """A decision, the newest first."""

    id: str
    time: float
    status: int | None
    rule: str | None
    line: int | None
    reason: str
    why_not: list[Why]
    outcome: str | None
    """null: not over"""
    bytes: int | None
    asked_bytes_per_s: float | None
    measured_bytes_per_s: float | None


class HostCount(TypedDict):
    """How often a host was asked for."""

    host: str
    requests: int


class Hint(TypedDict):
    """Why nothing is slowed, and what to do."""

    kind: Literal["no-policy", "no-traffic", "untrusted", "other-hosts", "conditions"]
    text: str


class Failure(TypedDict):
    """An error of ours: that exchange went on unthrottled."""

    time: float
    what: str


class Totals(TypedDict):
    """Since the start of the proxy."""

    requests: int
    matched: int
    active: int
    failed: int
    measured_bytes_per_s: float
    """of everything slowed, over the last second"""


class ShareState(TypedDict):
    """One limit that processes share, in one of them; over all whom it is counted `per`."""

    id: str
    rule: str | None
    """null: this process's policy has no such rule"""
    direction: Literal["up", "down"]
    per: str
    budgets: int
    """how many of them draw from it"""
    responses: int
    limit_bytes_per_s: float
    """what the policy allows these budgets, in all processes together"""
    part: float | None
    """of that which this process may give out now"""
    asked_bytes_per_s: float | None
    """the same as a rate; null: no limit now"""
    measured_bytes_per_s: float


class MemberState(TypedDict):
    """One of the processes that share."""

    id: str
    name: str | None
    """null for a reader who sees only their own"""
    this: bool
    """the one that answers here"""
    version: str
    """of its policy"""
    other_policy: bool
    """than this process has, and not only because a new version is on its way"""
    silent_s: float | None
    """for so long it has said nothing, where that is too long"""
    active: int
    measured_bytes_per_s: float
    shares: list[ShareState]


class StoreState(TypedDict):
    """What several proxies share their budgets through."""

    address: str | None
    """null for a reader who sees only their own"""
    processes: int
    """that share, this one included, as far as it was told"""
    away_s: float | None
    """for so long it has not answered; null: it is there"""
    meanwhile: Literal["split", "open", "block"]
    """what is done while it is away"""
    members: list[MemberState] | None
    """this one first; null until something was heard, two seconds at most after somebody looks"""
    members_there: int
    """of which the list has a hundred at most"""
    same_policy: bool
    """as far as was heard"""


class SamplesState(TypedDict):
    """What the lists in `rules` mean: the last entry is sample number `last`."""

    last: int
    every_s: float
    kept: int


class State(TypedDict):
    """The whole answer. Lists are bounded; `totals` and `policy.rules` tell how much there is."""

    start: str
    """changes when the proxy is started anew"""
    time: float
    uptime_s: float
    proxy: list[str]
    """where the proxy listens"""
    reader: Reader
    policy: PolicyInForce | None
    store: StoreState | None
    """null: this proxy shares with nobody"""
    totals: Totals
    samples: SamplesState
    rules: list[RuleState]
    active: list[ActiveBody]
    clients: list[ClientState]
    decisions: list[Decided]
    hosts_seen: list[HostCount]
    hosts_wanted: list[str]
    untrusting: list[HostCount]
    """hosts whose clients refused the proxy's certificate"""
    hint: Hint | None
    failures: list[Failure]
