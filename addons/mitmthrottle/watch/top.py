"""The live page in a terminal: `mitmthrottle top`.

Rule: it reads `/api/state` and nothing else, and prints whatever a client or another process has
sent with its control characters escaped: nothing that a terminal would obey comes through.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import cast
from urllib.parse import urlsplit

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mitmthrottle.policy.language.outside import printable, shown
from mitmthrottle.policy.language.units import format_size

from .page.api import ActiveBody, Decided, MemberState, RuleState, ShareState, State, StoreState

DEFAULT_URL = "http://127.0.0.1:8089"
EVERY_S = 1.0
TIMEOUT_S = 5.0
MOST_ANSWER_BYTES = 16 * 1024 * 1024
PLOT_SAMPLES = 30
BARS = " ▁▂▃▄▅▆▇█"
MOST_ROWS = 8
LONGEST_REASON = 500


class NoPage(Exception):
    """There is nothing to show; the text says why and what to do."""


def fetch(url: str) -> State:
    """The state of the proxy whose live page is at this URL. Raises NoPage."""
    base = url if "://" in url else f"http://{url}"
    if not _is_address(base):
        raise NoPage(f"`{url}` is no address of a live page: write `{DEFAULT_URL}`")
    # Only that name is answered by the proxy; a page on localhost is not asked for through one.
    through: dict[str, str] | None = {}
    if urlsplit(base).hostname == "throttle.proxy":
        through = None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(through))
    try:
        with opener.open(f"{base.rstrip('/')}/api/state", timeout=TIMEOUT_S) as answer:
            state = json.loads(answer.read(MOST_ANSWER_BYTES))
    except urllib.error.HTTPError as refusal:
        said = refusal.read(500).decode(errors="replace").strip()
        raise NoPage(f"{url} answers {shown(said, LONGEST_REASON) or refusal.code}") from None
    except (OSError, http.client.HTTPException) as fault:
        reason = shown(str(getattr(fault, "reason", fault)), LONGEST_REASON)
        raise NoPage(
            f"no live page answers at {url} ({reason}): start the proxy with `mitmthrottle run "
            "POLICY`; if its page is elsewhere (option throttle_listen, see its log): "
            "`mitmthrottle top URL`"
        ) from None
    except ValueError:
        raise NoPage(f"{url} is no live page of mitmthrottle: it answers no JSON") from None
    if not isinstance(state, dict) or not {"rules", "totals", "active"} <= state.keys():
        raise NoPage(f"{url} is no live page of mitmthrottle")
    return cast(State, state)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in url
    except ValueError:
        return False


def top(url: str, console: Console, *, once: bool) -> None:
    """Show it until it is interrupted, or once. Raises NoPage if nothing answers at the start."""
    state = fetch(url)
    if once:
        if state["store"] and state["store"]["members"] is None:  # the first who asks for them
            time.sleep(EVERY_S)
            state = fetch(url)
        console.print(frame(state))
        return
    with Live(frame(state), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(EVERY_S)
            lost = ""
            try:
                state = fetch(url)
            except NoPage as fault:
                lost = str(fault)
            live.update(frame(state, lost), refresh=True)


def frame(state: State, lost: str = "") -> RenderableType:
    """One picture of it; `lost`: why it is an old one."""
    parts: list[RenderableType] = [_head(state)]
    if lost:
        parts.append(Text(f"No answer, this is old: {printable(lost)}", "bold red"))
    if state["hint"]:
        parts.append(Text(printable(state["hint"]["text"]), "yellow"))
    if state["store"] and (away_s := state["store"]["away_s"]) is not None:
        parts.append(
            Text(
                f"The shared store is away for {away_s:.0f} s; meanwhile: "
                f"{state['store']['meanwhile']}",
                "bold red",
            )
        )
    refused = state["policy"] and state["policy"]["refused"]
    if refused:
        parts.append(Text("A newer version of the policy is refused:", "bold red"))
        parts += [Text(f"  {printable(fault)}", "red") for fault in refused["faults"][:MOST_ROWS]]
    parts += [Text(), _rules(state["rules"])]
    if state["store"] and (members := state["store"]["members"]):
        parts += [Text(), *members_of(state["store"], members)]
    if state["active"]:
        parts += [Text(), _active(state["active"][:MOST_ROWS])]
    if state["decisions"]:
        parts += [Text(), _decisions(state["decisions"][:MOST_ROWS])]
    return Group(*parts)


def plot(measured: list[float], asked: list[float | None]) -> str:
    """The last samples as bars, full where as much was measured as was asked at most."""
    recent = measured[-PLOT_SAMPLES:]
    most = max((value for value in asked[-PLOT_SAMPLES:] if value), default=0.0) or max(
        recent, default=0.0
    )
    if not most:
        return ""
    steps = len(BARS) - 1
    return "".join(
        BARS[min(steps, max(value > 0, round(value / most * steps)))] for value in recent
    )


def _head(state: State) -> Text:
    totals, policy = state["totals"], state["policy"]
    name = f"{policy['name']} ({policy['file']})" if policy else "no policy"
    head = Text("mitmthrottle ", "bold")
    head.append(printable(name), "")
    head.append(
        f"   {totals['active']} slowed now, {rate(totals['measured_bytes_per_s'])}; "
        f"{totals['matched']} so far, of {totals['requests']} requests",
        "dim",
    )
    if state["store"]:
        head.append(f"; shared by {state['store']['processes']} proxies", "dim")
    if totals["failed"]:
        head.append(f"; {totals['failed']} unthrottled after an error", "bold red")
    return head


def _rules(rules: list[RuleState]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("rule", ratio=3, overflow="fold")
    table.add_column("does now", ratio=4, overflow="fold")
    table.add_column("asked", justify="right", style="yellow", no_wrap=True)
    table.add_column("measured", justify="right", style="bright_cyan", no_wrap=True)
    table.add_column("last 30 s", min_width=PLOT_SAMPLES, no_wrap=True, style="cyan")
    table.add_column("now", justify="right")
    table.add_column("so far", justify="right")
    for rule in rules:
        says = printable(rule["says_now"])
        if rule["stage"] and rule["stage"]["number"]:
            says += f" (stage {rule['stage']['number']} of {rule['stage']['of']})"
        busy = rule["active"] or rule["measured_bytes_per_s"]
        table.add_row(
            Text(printable(rule["name"]), "dim" if rule["switched_off"] else "bold"),
            Text(says, "bold red" if rule["switched_off"] else ""),
            rate(rule["asked_bytes_per_s"]) if busy else "–",
            rate(rule["measured_bytes_per_s"]) if busy else "–",
            plot(rule["measured"], rule["asked"]),
            str(rule["active"]),
            str(rule["matched"]),
        )
    return table


def _active(bodies: list[ActiveBody]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("under way", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("client", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("measured", justify="right", style="bright_cyan", no_wrap=True)
    table.add_column("asked", justify="right", style="yellow", no_wrap=True)
    for body in bodies:
        done = format_size(_three_digits(body["bytes"]))
        if body["size_bytes"]:
            done = f"{body['bytes'] / body['size_bytes']:4.0%} of " + format_size(
                _three_digits(body["size_bytes"])
            )
        waits = body["state"] in ("waits its turn", "delayed")
        table.add_row(
            Text(printable(f"{body['host']}{body['path']}")),
            Text(printable(body["client"])),
            done,
            body["state"] if waits else rate(body["measured_bytes_per_s"] or 0.0),
            rate(body["asked_bytes_per_s"]),
        )
    return table


def _decisions(decisions: list[Decided]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("decided", no_wrap=True, style="dim")
    table.add_column("for", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("because", ratio=1, no_wrap=True, overflow="ellipsis")
    for item in decisions:
        table.add_row(
            time.strftime("%H:%M:%S", time.localtime(item["time"])),
            Text(printable(f"{item['method']} {item['host']}{item['path']}")),
            Text(printable(item["reason"]), "bright_cyan" if item["rule"] else "dim"),
        )
    return table


def _three_digits(size_bytes: int) -> int:
    return int(float(f"{size_bytes:.3g}"))


MOST_MEMBERS = 12
MOST_SHARES = 3


def members_of(store: StoreState, members: list[MemberState]) -> list[RenderableType]:
    """What there is to say of them, under the rules."""
    found: list[RenderableType] = []
    if not store["same_policy"]:
        found.append(Text("The proxies do not run the same policy.", "bold red"))
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("proxy", ratio=2, overflow="fold")
    table.add_column("policy", no_wrap=True)
    table.add_column("slowed", justify="right")
    table.add_column("measured", justify="right", style="bright_cyan", no_wrap=True)
    table.add_column("its part of what is shared", ratio=3, overflow="fold")
    for member in members[:MOST_MEMBERS]:
        _add(table, member)
    found.append(table)
    if (left := store["members_there"] - len(members[:MOST_MEMBERS])) > 0:
        found.append(Text(f"and {left} more", "dim"))
    return found


def _add(table: Table, member: MemberState) -> None:
    name = Text(printable(member["name"] or member["id"]), "bold")
    if member["this"]:
        name.append(" (this one)", "not bold dim")
    if member["silent_s"] is not None:
        name.append(f" silent for {member['silent_s']:.0f} s", "bold red")
    shares = [_share(share) for share in member["shares"][:MOST_SHARES]]
    if left := len(member["shares"]) - len(shares):
        shares.append(f"and {left} more")
    table.add_row(
        name,
        Text(printable(member["version"]) or "–", "bold red" if member["other_policy"] else ""),
        str(member["active"]),
        rate(member["measured_bytes_per_s"]),
        Text("\n".join(shares) or "–"),
    )


def _share(share: ShareState) -> str:
    name = printable(share["rule"]) if share["rule"] is not None else "(a rule not known here)"
    part = "" if share["part"] is None else f"{share['part']:.0%}: "
    asked = rate(share["asked_bytes_per_s"])
    return f"{part}{rate(share['measured_bytes_per_s'])} of {asked}, {name}"


__all__ = ["printable", "rate"]


def rate(bytes_per_s: float | None) -> str:
    """Three digits: `128 kbit/s`; a dash where there is none."""
    if bytes_per_s is None:
        return "no limit"
    value = bytes_per_s * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} Gbit/s"
