"""The command line: `mitmthrottle run`, `browse`, `check`, `explain`, `policies`, `demo`,
`compare`, `measure`, `top`.

Rule: each command is a few lines over a function that a test suite could call as well, and
whatever the user did, the answer is a sentence, never a traceback.

Exit status: 0 all well; 1 a broken policy, a demo that measured something else than was
asked, or a proxy that did not start; 2 wrong usage.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from mitmthrottle.compare.options import compare_command
from mitmthrottle.explanation import Moment, as_text, explain
from mitmthrottle.extras import remedy
from mitmthrottle.fleet import NotStarted, parse_workers, run_workers, settings, take_workers
from mitmthrottle.lab.proxy import SCRIPT_PATH
from mitmthrottle.measure.command import measure_command
from mitmthrottle.policy import (
    Policy,
    PolicyError,
    Problem,
    find_policy,
    load_policy,
    load_policy_with_warnings,
    presets,
    shipped_policies,
)
from mitmthrottle.policy.language.units import did_you_mean, parse_size
from mitmthrottle.policy.library.shipped import as_a_start
from mitmthrottle.resolve import RESOLVE_FORM, parse_resolve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mitmthrottle")
def main() -> None:
    """Slow the photos and videos of chosen hosts, as a policy file says.

    A POLICY is a file, or the name of one that comes with mitmthrottle, such as twitter-2021.
    """


@main.command(
    "run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.option(
    "--workers", metavar="N", default="1", help="Processes that share the port, one for each core."
)
@click.argument("policy")
@click.argument("mitmdump_options", nargs=-1, type=click.UNPROCESSED)
def run_command(workers: str, policy: str, mitmdump_options: tuple[str, ...]) -> None:
    """Run the proxy with POLICY; all further options are mitmdump's.

    \b
    mitmthrottle run twitter-2021 --listen-port 8080
    mitmthrottle run my.yaml --mode transparent --set throttle_quic=block
    mitmthrottle run my.yaml --workers 2

    What no rule matches is passed on as it comes (mitmdump by itself waits for the end of
    each body); to have it collected: --set stream_large_bodies
    """
    try:
        named, options = take_workers(mitmdump_options)
        count = named or parse_workers(workers)
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--workers") from None
    _load_or_exit(policy)
    path = find_policy(policy)
    throttle = ["-s", str(SCRIPT_PATH), "--set", f"throttle_policy={path}"]
    if not settings(options, "stream_large_bodies"):
        # A control that arrives in one lump at its end would be compared with a slowed target.
        throttle += ["--set", "stream_large_bodies=1"]
    if count > 1:
        try:
            sys.exit(run_workers([*throttle, *options], count))
        except NotStarted as reason:
            raise click.ClickException(str(reason)) from None
    # Only here: the other commands should not wait for mitmproxy to be imported.
    from mitmthrottle.proxy.process import run_mitmdump

    run_mitmdump([*throttle, *options])


@main.command("browse")
@click.argument("policy")
@click.argument("url", default="http://throttle.proxy/")
@click.option("--chromium", type=click.Path(path_type=Path), help="Where Chromium is.")
@click.option(
    "--set", "settings_given", multiple=True, metavar="OPTION=VALUE", help="As mitmdump's; repeat."
)
@click.option(
    "--cacert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Authorities (PEM) that the proxy is to trust instead of the public ones.",
)
@click.option(
    "--resolve",
    multiple=True,
    metavar=RESOLVE_FORM,
    help="Find a host elsewhere, on a staging server say; `*` is any host; repeat.",
)
@click.option(
    "--browser-flag", "flags", multiple=True, metavar="FLAG", help="A flag of Chromium's; repeat."
)
def browse_command(
    policy: str,
    url: str,
    chromium: Path | None,
    settings_given: tuple[str, ...],
    cacert: Path | None,
    resolve: tuple[str, ...],
    flags: tuple[str, ...],
) -> None:
    """Open a browser behind POLICY, at URL or the live page, until its window is closed.

    \b
    mitmthrottle browse twitter-2021 https://example.org/
    mitmthrottle browse my.yaml http://localhost:3000/

    A Chromium with a profile of its own, whose traffic goes through a proxy of its own, localhost
    included; it alone trusts that proxy. Your browser, your profile and your system are not
    touched, and all of it is gone in the end.
    """
    _load_or_exit(policy)
    path = find_policy(policy)
    # Only here: it reads the proxy's certificate.
    from mitmthrottle.lab.browse import BrowserFailed, browse
    from mitmthrottle.lab.chromium import NoChromium
    from mitmthrottle.lab.proxy import ProxyFailed

    try:
        routes = dict(parse_resolve(line) for line in resolve)
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--resolve") from None
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stopped)
    try:
        browse(
            path,
            url,
            click.echo,
            chromium=chromium,
            flags=flags,
            options=[part for each in settings_given for part in ("--set", each)],
            upstream_ca=cacert,
            resolve=routes,
        )
    except (BrowserFailed, NoChromium, ProxyFailed) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(0)


def _stopped(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


@main.command("check")
@click.argument("policies", metavar="POLICY...", nargs=-1, required=True)
def check_command(policies: tuple[str, ...]) -> None:
    """Check policies: every fault as file:line:column and what would be right.

    Warns of what is surely not meant, too. Exit status 1 if any has a fault.
    """
    broken = False
    for name in policies:
        try:
            policy, warnings = load_policy_with_warnings(find_policy(name), time.time())
        except PolicyError as error:
            broken = True
            _print_problems(error.problems)
        else:
            _print_problems(warnings)
            rules = "1 rule" if len(policy.rules) == 1 else f"{len(policy.rules)} rules"
            click.echo(f"{name}: ok, {rules}")
    sys.exit(1 if broken else 0)


class _Size(click.ParamType[int]):
    """A size with its unit, as policies write it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


class _Moment(click.ParamType[Moment]):
    """A time of day of the policy's own zone, perhaps with its day; or a moment with its zone."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Moment:
        try:
            return value if isinstance(value, Moment) else Moment.parse(value)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


@main.command("explain")
@click.argument("policy")
@click.argument("url")
@click.option("--content-type", help="The response's Content-Type.")
@click.option("--user-agent", help="The request's User-Agent.")
@click.option("--client-ip", help="The client's address.")
@click.option("--user", help="Who authenticated at the proxy.")
@click.option("--method", default="GET", show_default=True)
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A request header; repeat."
)
@click.option("--size", type=_Size(), help="Size of the response's body, as in `100 KiB`.")
@click.option("--status", type=click.IntRange(100, 599), default=200, show_default=True)
@click.option(
    "--opaque",
    is_flag=True,
    help="The connection cannot be opened (pinned certificate, ignored host, another protocol): "
    "only host, port and client are known.",
)
@click.option(
    "--at", "at", type=_Moment(), help="When: `mon 10:00`, `10:00` or `2021-03-10T10:00+03:00`."
)
@click.option("--json", "as_json", is_flag=True, help="For programs: rule, effects, why_not.")
def explain_command(
    policy: str,
    url: str,
    content_type: str | None,
    user_agent: str | None,
    client_ip: str | None,
    user: str | None,
    method: str,
    headers: tuple[str, ...],
    size: int | None,
    status: int,
    opaque: bool,
    at: Moment | None,
    as_json: bool,
) -> None:
    """Say what POLICY does with the response to a request for URL, and why.

    No body is fetched: where Content-Type does not tell what it is, the URL's extension does.
    """
    loaded = _load_or_exit(policy)
    try:
        when = datetime.fromtimestamp(at.unix_time(loaded, time.time()), UTC) if at else None
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--at") from None
    request_headers = dict(_header(text) for text in headers)
    if user_agent is not None:
        request_headers["user-agent"] = user_agent
    try:
        answer = explain(
            loaded,
            url,
            method=method,
            request_headers=request_headers,
            client_address=client_ip,
            user=user,
            status=status,
            content_type=content_type,
            size=size,
            opaque=opaque,
            at=when,
        )
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="URL") from None
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False) if as_json else as_text(answer))


@main.group("policies", invoke_without_command=True)
@click.pass_context
def policies_command(context: click.Context) -> None:
    """List the policies and presets that come along; `policies show NAME` prints one."""
    if context.invoked_subcommand is not None:
        return
    shipped = [load_policy(path) for path in shipped_policies()]
    listed = [(policy.name, policy.description) for policy in shipped]
    click.echo("Policies, for `mitmthrottle run NAME`:")
    _print_columns(listed)
    click.echo("\nPresets, for `then: {like: NAME}` in a policy:")
    _print_columns([(preset.name, preset.describe()) for preset in presets().values()])


@policies_command.command("show")
@click.argument("name")
def show_command(name: str) -> None:
    """Print a policy that comes along, as a start for your own, or a preset with its source."""
    preset = presets().get(name)
    if preset is not None:
        click.echo(f"{preset.name}: {preset.describe()}\n{preset.source}\n{preset.url}")
        click.echo(f"retrieved {preset.retrieved}" + (f"\n{preset.notes}" * bool(preset.notes)))
        return
    names = {path.stem: path for path in shipped_policies()}
    if name not in names:
        near = did_you_mean(name, [*names, *presets()])
        raise click.ClickException(
            f"no policy or preset is named `{name}`{near or ': `mitmthrottle policies` lists them'}"
        )
    click.echo(as_a_start(names[name]), nl=False)


def _print_columns(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, words in rows:
        click.echo(f"  {name:{width}}  {words}")


@main.command("demo")
def demo_command() -> None:
    """Show the main job on this machine, in about 20 seconds.

    Starts an origin and the proxy on loopback, fetches as phones, desktops and bystanders,
    and exits with 1 if what they measured is not what the policy asks.
    """
    try:
        from rich.console import Console

        from mitmthrottle.lab.demo import demo
        from mitmthrottle.lab.proxy import ProxyFailed
    except ModuleNotFoundError as missing:
        raise click.ClickException(f"the demo needs {missing.name}: {remedy('lab')}") from None
    try:
        # A pipe has no width of its own, and the table should not be folded for one.
        all_well = demo(Console(width=None if sys.stdout.isatty() else 120))
    except ProxyFailed as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if all_well else 1)


main.add_command(compare_command)
main.add_command(measure_command)


@main.command("top")
@click.argument("url", default="http://127.0.0.1:8089")
@click.option("--once", is_flag=True, help="Print it once and end.")
def top_command(url: str, once: bool) -> None:
    """Watch a running proxy: what each rule does now, asked beside measured.

    URL is where its live page is: the option throttle_listen, http://127.0.0.1:8089 by default.
    """
    # Only here: the other commands should not wait for a terminal's library.
    from rich.console import Console

    from mitmthrottle.watch.top import NoPage, top

    # A pipe has no width of its own, and the table should not be folded for one.
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        top(url, console, once=once or not sys.stdout.isatty())
    except NoPage as fault:
        raise click.ClickException(str(fault)) from None
    except KeyboardInterrupt:
        sys.exit(0)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(
            f"`{text}` is no header: write 'Accept-Language: ru'", param_hint="--header"
        )
    return name.strip().lower(), value.strip()


def _load(name: str) -> Policy:
    return load_policy(find_policy(name))


def _load_or_exit(name: str) -> Policy:
    try:
        return _load(name)
    except PolicyError as error:
        _print_problems(error.problems)
        sys.exit(1)


def _print_problems(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)
