"""Why a policy does with a response what it does: the answer of `mitmthrottle explain`, for
people and for programs.

Rule: it asks the `Decider` that the proxy asks; nothing is decided here. Field names are
stable once shipped, and quantities are in SI units.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypedDict
from urllib.parse import urlsplit

from mitmthrottle.policy import Decider, Exchange, Policy
from mitmthrottle.policy.conditions.active import DaySpan
from mitmthrottle.policy.language.zones import parse_moment, wall_clock
from mitmthrottle.source import PolicySource, load_policy

_CLOCK = re.compile(r"\s*(?:(?P<day>[A-Za-z]+)\s+)?(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})\s*")

OPAQUE = "opaque:  nothing but host, port and client is known"
OPAQUE_EFFECTS = "         the rate holds for the connection's bytes each way; a block is a reset"


class WhyNotAnswer(TypedDict):
    """A rule that did not match, and the first condition that kept it from doing so."""

    rule: str
    condition: str | None
    """its key in `when`; `order`: a rule before it has matched"""
    reason: str


type Effects = dict[str, Any]
"""What a rule does, only the effects it has: `text`, as the policy would say it, and what each
effect says of itself (policy/effects/), in SI units."""


class Explanation(TypedDict):
    """What `explain` answers, and the JSON of `mitmthrottle explain --json`."""

    rule: str | None
    """the matching rule's name; null: the response is left alone"""
    line: int | None
    """of the rule in its file, from 1"""
    content: str | None
    """photo, video, audio, websocket, or null for anything else"""
    opaque: bool
    """whether the question was about a connection that cannot be opened"""
    effects: Effects | None
    """what the rule does: `text`, as the policy would say it, and its figures in SI units"""
    why_not: list[WhyNotAnswer]
    """each other rule, with the condition that failed and why"""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a response is asked about: a moment, or a time of day and perhaps a day of the week,
    which are those of the policy's zone."""

    moment: datetime | None = None
    day: int | None = None
    """of the week, from Monday; None: the day that it is"""
    minute: int = 0
    """of the day"""

    @classmethod
    def parse(cls, text: str) -> Moment:
        """`mon 10:00`, `10:00` or `2021-03-10T10:00+03:00`. ValueError with a remedy.

        >>> Moment.parse("mon 10:00")
        Moment(moment=None, day=0, minute=600)
        """
        found = _CLOCK.fullmatch(text)
        if found is None:
            try:
                return cls(parse_moment(text))
            except ValueError:
                raise ValueError(
                    f"`{text}` is no time: write `mon 10:00`, `10:00` or `2021-03-10T10:00+03:00`"
                ) from None
        hour, minute = int(found["hour"]), int(found["minute"])
        if hour > 23 or minute > 59:
            raise ValueError(f"`{text}`: the day goes from `00:00` to `23:59`")
        return cls(
            None, DaySpan.parse(found["day"]).first if found["day"] else None, hour * 60 + minute
        )

    def unix_time(self, policy: Policy, now: float) -> float:
        """The first such time from the beginning of today on. `now` is in Unix seconds."""
        if self.moment is not None:
            return self.moment.timestamp()
        today = wall_clock(now, _zone_of(policy))
        ahead = 0 if self.day is None else (self.day - today.weekday()) % 7
        when = today.replace(
            hour=self.minute // 60, minute=self.minute % 60, second=0, microsecond=0, fold=0
        )
        return (when + timedelta(days=ahead)).timestamp()


def _zone_of(policy: Policy) -> str | None:
    """The one zone that its rules name; the machine's if they name none. ValueError if several."""
    zones = {
        active.tz
        for rule in policy.rules
        for active in rule.when.active or ()
        if active.days is not None or active.hours is not None
    }
    if len(zones) > 1:
        named = ", ".join(sorted(zone or "the machine's" for zone in zones))
        raise ValueError(
            f"the rules are of several time zones ({named}): give a moment with its zone, as in "
            "`--at 2021-03-10T10:00+03:00`"
        )
    return next(iter(zones), None)


def exchange_of_url(url: str, headers: dict[str, str], **facts: Any) -> Exchange:
    """The facts of a request for a URL; `facts` are further fields of `Exchange`.

    `headers` are the request's; their names may be in any case. Raises ValueError for what
    is no http(s) or ws(s) URL.

    >>> exchange_of_url("https://t.co/a?b=1", {}).path
    '/a?b=1'
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise ValueError(f"`{url}` is not a URL: {fault}") from None
    defaults = {"http": 80, "https": 443, "ws": 80, "wss": 443}
    if parts.scheme not in defaults or not parts.hostname:
        remedy = "" if "//" in url else f": did you mean `https://{url}`?"
        raise ValueError(f"`{url}` is not an http or https URL{remedy}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Exchange(
        host=parts.hostname,
        path=path,
        # To HTTP a WebSocket is a request like others that changes its mind later.
        scheme={"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme),
        websocket=parts.scheme in ("ws", "wss"),
        port=port or defaults[parts.scheme],
        request_headers={name.lower(): value for name, value in headers.items()},
        **facts,
    )


def explain(
    policy: PolicySource,
    url: str,
    *,
    method: str = "GET",
    request_headers: Mapping[str, str] | None = None,
    client_address: str | None = None,
    user: str | None = None,
    status: int = 200,
    content_type: str | None = None,
    size: int | None = None,
    opaque: bool = False,
    at: datetime | str | None = None,
) -> Explanation:
    """What a policy does with the response to a request for `url`, and why. Nothing is fetched.

    `policy` is what `load_policy` takes. `request_headers` have their names in any case.
    `client_address` is the client's IP address, `user` who authenticated at the proxy. `status`,
    `content_type` (the Content-Type header) and `size` (bytes of the body) are the response's;
    where the type does not tell what the body is, the extension of the URL does. `opaque`: the
    connection cannot be opened, so that only host, port and client are known. `at` is the moment
    of the response: with its zone, or `"mon 10:00"` by the clock of the policy's zone; if none is
    given it is now.

    Raises PolicyError for a policy that cannot be used, and ValueError for a URL that is not http,
    https, ws or wss and for an `at` that is no time.

        >>> explain("twitter-2021", "https://example.org/")["rule"] is None
        True
    """
    loaded = load_policy(policy)
    return explain_exchange(
        loaded,
        exchange_of_url(
            url,
            dict(request_headers or {}),
            method=method.upper(),
            status=status,
            content_type=content_type,
            size=size,
            first_bytes=b"",
            client_address=client_address,
            user=user,
            opaque=opaque,
            time=_unix_time(at, loaded),
        ),
    )


def _unix_time(at: datetime | str | None, policy: Policy) -> float:
    if at is None:
        return time.time()
    if isinstance(at, str):
        return Moment.parse(at).unix_time(policy, time.time())
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no zone: give it one, as datetime.now(UTC) has")
    return at.timestamp()


def explain_exchange(policy: Policy, exchange: Exchange) -> Explanation:
    """Which rule matches and what it does, and of each other rule why it does not."""
    decision = Decider(policy).explain(exchange)
    return {
        "rule": decision.rule.name if decision.rule else None,
        "line": decision.rule.line if decision.rule else None,
        "content": decision.kind,
        "opaque": exchange.opaque,
        "effects": decision.rule.then.explain() if decision.rule else None,
        "why_not": [
            {"rule": why.rule, "condition": why.condition, "reason": why.reason}
            for why in decision.why_not
        ],
    }


def as_text(answer: Explanation) -> str:
    """The same for people: a line on what happens, then a line for each other rule."""
    if answer["effects"] is None:
        lines = ["no rule matches: left alone"]
    else:
        lines = [
            f"rule:    {answer['rule']} (line {answer['line']})",
            f"effects: {answer['effects']['text']}",
        ]
    if answer["opaque"]:
        lines.append(OPAQUE)
        if answer["rule"]:
            lines.append(OPAQUE_EFFECTS)
    if answer["content"]:
        lines.append(f"content: {answer['content']}")
    if answer["why_not"]:
        lines.append("other rules:" if answer["rule"] else "why not:")
    for why in answer["why_not"]:
        condition = f"{why['condition']}: " if why["condition"] else ""
        lines.append(f"  {why['rule']}\n    {condition}{why['reason']}")
    return "\n".join(lines)
