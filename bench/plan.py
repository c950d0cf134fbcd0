"""What the load client is to do: plain facts that travel to its process as JSON.

Rule: times are seconds from the start of the plan, paths are what the origin is asked for.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Link:
    """A way to an origin: over one proxy or straight, over one protocol.

    `protocol`: `h1`, plain HTTP/1.1, one connection for each stream; or `h2`, HTTP/2 over TLS,
    through CONNECT where there is a proxy, `connections` that the streams are dealt out to.
    """

    name: str
    protocol: str
    address: str
    port: int
    authority: str  # the origin's name; with its port where that is not the scheme's default
    proxied: bool
    connections: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """Streams that ask for the same path over the same link.

    A stream with `every_s` asks again: about so many seconds after its last start, or at once where
    the answer took longer.  At `stop_s` whatever is under way is aborted.
    """

    name: str
    link: str
    path: str
    streams: int = 1
    start_s: float = 0.0
    stop_s: float | None = None
    every_s: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Links and jobs, and when to stop.

    With `measure_s`: wait until every stream has its first byte (at most `ramp_s`), then
    `settle_s`, say `begin`, measure, say `end`.  Without: `duration_s`, and that was it.
    With `turns`: the jobs take so many turns, in the order 0 1 1 0; each is `settle_s`, in which
    the last one's requests run out, and then `measure_s` that counts.
    Reads of a response less than `merge_s` apart count as one arrival.
    """

    links: tuple[Link, ...]
    jobs: tuple[Job, ...]
    duration_s: float | None = None
    measure_s: float | None = None
    ramp_s: float = 30.0
    settle_s: float = 2.0
    starts_per_s: float = 400.0
    merge_s: float = 0.01
    turns: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        data: dict[str, Any] = json.loads(text)
        data["links"] = tuple(Link(**link) for link in data["links"])
        data["jobs"] = tuple(Job(**job) for job in data["jobs"])
        return cls(**data)
