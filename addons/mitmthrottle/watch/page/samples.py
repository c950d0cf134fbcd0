"""Asked beside measured, once a second, for each rule that has had something to do.

Rule: measured is what has gone out since the last sample, asked is what those bodies might
have had in that time, at the rates of this moment; nothing is asked of the data path.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mitmthrottle.proxy.observer import EndedBody
from mitmthrottle.proxy.record import BodySnapshot, Direction, RecordKind

EVERY_S = 1.0
KEPT = 300
"""samples: five minutes"""
MOST_RULES = 200

type _Key = tuple[str, RecordKind, Direction]
"""of a body, from one snapshot to the next"""


@dataclass(slots=True)
class Series:
    """Of one rule; the newest sample is the last, and older than the first there was nothing.
    Bytes per second; None: no limit."""

    asked: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    measured: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    idle: int = 0
    """samples in a row without anything"""


class JustEnded:
    """What those might have had that have ended since the last sample: short responses would
    otherwise look as if nothing had been asked of them."""

    def __init__(self) -> None:
        self._own_bytes: dict[str, float] = {}  # by rule, summed up
        self._shared_bytes: dict[str, float] = {}  # by rule, of one, since all have the same

    def add(self, record: EndedBody) -> None:
        rate, rule = record.asked_bytes_per_s, record.rule
        if rate is None or rule is None:
            return
        size = rate * min(record.duration_s, EVERY_S)
        if any(limit.per != "response" for limit in rule.then.rate):
            self._shared_bytes[rule.name] = max(self._shared_bytes.get(rule.name, 0.0), size)
        else:
            self._own_bytes[rule.name] = self._own_bytes.get(rule.name, 0.0) + size

    def add_to(self, asked: dict[str, float], since_s: float) -> None:
        """To the rates in bytes/s that were asked of each rule."""
        for name, size in self._own_bytes.items():
            asked[name] = asked.get(name, 0.0) + size / since_s
        for name, size in self._shared_bytes.items():
            asked[name] = max(asked.get(name, 0.0), size / since_s)


class Samples:
    """The last minutes of every rule."""

    def __init__(self) -> None:
        self.last = 0
        """number of the newest sample"""
        self.series: dict[str, Series] = {}
        self._totals: dict[str, int] = {}
        self._sent: dict[_Key, int] = {}
        self._now: dict[_Key, float] = {}
        self._time: float | None = None

    def rate_now(self, body: BodySnapshot) -> float | None:
        """What has gone out of this body over the last second, in bytes/s; None: too new."""
        return self._now.get(body.key)

    def take(
        self,
        now: float,
        bodies: Iterable[BodySnapshot],
        ended_bytes: Mapping[str, int],
        just_ended: JustEnded | None = None,
    ) -> None:
        """One sample. `ended_bytes`: by rule, of all bodies that have ended so far."""
        since_s = EVERY_S if self._time is None else max(now - self._time, 1e-3)
        self._time = now
        totals = dict(ended_bytes)
        asked: defaultdict[str, float] = defaultdict(float)
        free: set[str] = set()
        sent: dict[_Key, int] = {}
        for body in bodies:
            if body.rule is None:
                continue
            name = body.rule.name
            sent[body.key] = body.sent_bytes
            totals[name] = totals.get(name, 0) + body.sent_bytes
            rate = body.rate_bytes_per_s
            if body.state == "unlimited":
                free.add(name)
            elif body.state == "paced" and rate is not None:
                # What came during the last second could have it for a part of that.
                asked[name] += rate * min(body.age_s / since_s, 1.0)
        if just_ended is not None:
            just_ended.add_to(asked, since_s)
        before = self._sent
        self._now = {k: (n - before[k]) / since_s for k, n in sent.items() if k in before}
        self._sent = sent
        self.last += 1
        for name in totals.keys() | self.series.keys():
            measured = max(0, totals.get(name, 0) - self._totals.get(name, 0)) / since_s
            self._add(name, None if name in free else asked.get(name, 0.0), measured)
        self._totals = totals

    def _add(self, name: str, asked: float | None, measured: float) -> None:
        busy = asked is None or asked > 0 or measured > 0
        series = self.series.get(name)
        if series is None:
            if not busy or len(self.series) >= MOST_RULES:
                return
            series = self.series[name] = Series()
        series.idle = 0 if busy else series.idle + 1
        if series.idle > KEPT:
            del self.series[name]
            return
        series.asked.append(asked)
        series.measured.append(measured)
