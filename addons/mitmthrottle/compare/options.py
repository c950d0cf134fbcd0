"""The options of `mitmthrottle compare`.

Rule: nothing heavy is imported before the command is called for; the other commands start as
fast as without it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from mitmthrottle.extras import remedy
from mitmthrottle.policy import PolicyError, find_policy
from mitmthrottle.resolve import RESOLVE_FORM, parse_resolve


@click.command("compare")
@click.argument("page")
@click.option("--policy", "policy_name", required=True, help="A file, or a shipped policy's name.")
@click.option("--runs", type=click.IntRange(1, 50), default=3, show_default=True, help="Of each.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The report, one HTML file.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs; see docs/compare.md.")
@click.option(
    "--device", type=click.Choice(["phone", "desktop"]), default="desktop", show_default=True
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=60,
    show_default=True,
    help="Seconds to watch a visit at most.",
)
@click.option("--chromium", type=click.Path(path_type=Path), help="Where Chromium is.")
@click.option(
    "--cacert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Authorities (PEM) to trust besides the public ones.",
)
@click.option("--insecure", is_flag=True, help="Do not verify the page's certificates.")
@click.option(
    "--resolve",
    multiple=True,
    metavar=RESOLVE_FORM,
    help="Find a host elsewhere, on a staging server say; `*` is any host; repeat.",
)
@click.option("--no-play", is_flag=True, help="Do not start videos that do not start themselves.")
def compare_command(
    page: str,
    policy_name: str,
    runs: int,
    output: Path,
    as_json: bool,
    device: Literal["phone", "desktop"],
    timeout: float,
    chromium: Path | None,
    cacert: Path | None,
    insecure: bool,
    resolve: tuple[str, ...],
    no_play: bool,
) -> None:
    """Load PAGE in headless Chromium with and without a policy, several times, by turns.

    Writes a report: film strips side by side, paints, videos' starts and stalls, and the
    requests that were slowed, by which rule. Exit status 0: compared; 1: the reason is said;
    130: stopped by Ctrl-C.
    """
    try:
        from rich.console import Console

        from mitmthrottle.compare import command
        from mitmthrottle.compare.facts import CompareFailed, Plan
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        raise click.ClickException(f"compare needs {package}: {remedy('compare')}") from None
    try:
        plan = Plan(
            page=page,
            policy=find_policy(policy_name),
            runs=runs,
            device=device,
            timeout_s=timeout,
            chromium=chromium,
            upstream_ca=cacert,
            insecure=insecure,
            resolve=dict(parse_resolve(text) for text in resolve),
            play=not no_play,
        )
        console = Console(
            width=None if (sys.stderr if as_json else sys.stdout).isatty() else 120, stderr=as_json
        )
        status = command.run(console, plan, output, as_json)
    except PolicyError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--resolve") from None
    except CompareFailed as error:
        raise click.ClickException(str(error)) from None
    sys.exit(status)
