"""The processes that share their budgets, for `mitmthrottle top`."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .state_json import MemberState, ShareState, StoreState
from .top_text import printable, rate

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
