"""Time zones and moments, as policies write them and as rules ask for them.

The one rule: time comes in as Unix seconds, an argument; without a zone of its own, wall-clock
time is that of the machine. Clock changes follow the zone: an hour that comes twice counts twice.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from mitmthrottle.policy.language.units import did_you_mean

_LATEST_S = 250_000_000_000.0  # the year 9892; datetime ends with 9999


def parse_zone(text: str) -> str:
    """`Europe/Moscow`, `UTC`; ValueError with a remedy for what is no zone's name."""
    name = text.strip()
    if name in _zones():
        return name
    folded = {zone.casefold(): zone for zone in _zones()}
    found = folded.get(name.casefold())
    # a city says enough to guess by: `moscow` -> `Europe/Moscow`
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in sorted(_zones())}
    found = found or cities.get(name.casefold().replace(" ", "_"))
    # an abbreviation resembles many, and most of them are elsewhere: nothing is offered for it
    near = did_you_mean(name, sorted(_zones())) if "/" in name else ""
    near = f": did you mean `{found}`?" if found else near
    raise ValueError(
        f"`{text}` is no time zone{near or ': write its name, as `Europe/Moscow` or `UTC`'}"
    )


def parse_moment(text: str) -> datetime:
    """`2021-03-10T10:00+03:00` -> an aware datetime; ValueError if it names no zone."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"`{text}` is no moment: write date, time and zone as in `2021-03-10T10:00+03:00`"
        ) from None
    if moment.tzinfo is None:
        plain = moment.isoformat(timespec="minutes" if not moment.second else "seconds")
        raise ValueError(
            f"`{text}` has no time zone: did you mean `{plain}Z` (UTC), or `{plain}+03:00`?"
        )
    return moment


def wall_clock(unix_time: float, zone: str | None) -> datetime:
    """The time that a clock shows in a zone (None: this machine's). Never raises."""
    bounded = min(max(unix_time, 0.0), _LATEST_S) if math.isfinite(unix_time) else 0.0
    if zone is None:
        return datetime.fromtimestamp(bounded, UTC).astimezone()
    return datetime.fromtimestamp(bounded, _zone(zone))


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
