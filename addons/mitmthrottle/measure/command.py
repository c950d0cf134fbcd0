"""The command `mitmthrottle measure`: options, and which function answers.

Rule: nothing of the client or of the statistics is imported before it is needed, so that the other
commands do without; whatever goes wrong is a sentence with a remedy.

Exit status: 0 measured, whatever the verdict; 1 something could not be measured, or a body was
truncated; 2 wrong usage; 130 interrupted, with what was measured so far printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mitmthrottle.extras import remedy
from mitmthrottle.policy.language.units import parse_size
from mitmthrottle.resolve import RESOLVE_FORM, Endpoint, parse_resolve

if TYPE_CHECKING:
    from rich.console import Console

    from mitmthrottle.measure.way import Way

INTERRUPTED = 130


class _Bytes(click.ParamType[int]):
    """A size with its unit, or a plain number of bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            size = int(value) if value.isdecimal() else parse_size(value)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)
        if size < 1:
            self.fail(f"`{value}`: at least one byte has to come", param, ctx)
        return size


@click.command("measure")
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--control", metavar="URL", help="Compare with this one: is URL slowed?")
@click.option("--proxy", metavar="URL", help="Go through an HTTP proxy: http://[USER:PW@]HOST:PORT")
@click.option(
    "--pairs",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="Transfers of each in a comparison; it takes 8 for a verdict.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    help="End each transfer after so long.",
)
@click.option(
    "--bytes",
    "size",
    type=_Bytes(),
    default="10 MB",
    show_default=True,
    help="End each transfer after so much; what an upload sends.",
)
@click.option(
    "--cacert",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="PEM file of authorities to trust besides the system's.",
)
@click.option("--insecure", is_flag=True, help="Trust any certificate.")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A request header; repeat."
)
@click.option(
    "--resolve",
    multiple=True,
    metavar=RESOLVE_FORM,
    help="Find a host elsewhere; `*` is any host; repeat.",
)
@click.option("--http2", is_flag=True, help="Offer HTTP/2; its window bounds the rate.")
@click.option("--upload", is_flag=True, help="Measure the request's body instead: POST.")
@click.option("--seed", default="mitmthrottle", help="Of the order within pairs, and the swaps.")
@click.option("--json", "as_json", is_flag=True, help="For programs; see docs/measure.md.")
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report with plots.",
)
def measure_command(
    urls: tuple[str, ...],
    control: str | None,
    proxy: str | None,
    pairs: int,
    seconds: float,
    size: int,
    cacert: Path | None,
    insecure: bool,
    headers: tuple[str, ...],
    resolve: tuple[str, ...],
    http2: bool,
    upload: bool,
    seed: str,
    as_json: bool,
    html: Path | None,
) -> None:
    """Measure goodput over time; with --control tell whether URL is slowed, and how.

    \b
    mitmthrottle measure https://example.com/video.mp4
    mitmthrottle measure https://slowed.example/a.jpg --control https://other.example/a.jpg

    Against any network, with or without a throttle of ours. The best control is the same body on
    the same server under another name. Measure only hosts that you may put this load on:
    twice --pairs transfers, each up to --bytes.
    """
    if control is not None and len(urls) > 1:
        raise click.UsageError("--control compares one URL: measure the others one by one")
    try:
        from rich.console import Console

        from mitmthrottle.measure.faults import Unmeasurable
        from mitmthrottle.measure.way import Way
    except ModuleNotFoundError as missing:
        raise _not_installed(missing) from None
    way = Way(
        proxy=proxy,
        headers=tuple(_header(text) for text in headers),
        seconds=seconds,
        bytes=size,
        cacert=cacert,
        insecure=insecure,
        http2=http2,
        upload=upload,
        resolve=_routes(resolve),
    )
    console = Console(width=None if sys.stdout.isatty() else 140)
    if html is not None and not html.absolute().parent.is_dir():
        raise click.ClickException(f"--html {html}: there is no folder {html.absolute().parent}")
    try:
        if control is None:
            status = _singles(urls, way, as_json, html, console)
        else:
            status = _pairs(urls[0], control, way, pairs, seed, as_json, html, console)
    except Unmeasurable as fault:
        raise click.ClickException(str(fault)) from None
    except KeyboardInterrupt:
        click.echo("Interrupted before anything was measured.", err=True)
        status = INTERRUPTED
    sys.exit(status)


def _singles(
    urls: tuple[str, ...], way: Way, as_json: bool, html: Path | None, console: Console
) -> int:
    from mitmthrottle.measure import record, report, run, terminal

    with terminal.progress(len(urls)) as progress:
        measured = run.measure(urls, way, progress)
    for failure in measured.failures:
        click.echo(f"Error: {failure}", err=True)
    truncated = [each for each in measured.transfers if each.ended == "truncated"]
    for each in truncated:
        wanted = f" of {each.declared}" if each.declared else ""
        click.echo(
            f"Error: {each.url}: the body ended after {each.size:.0f}{wanted} bytes: the server, "
            "or something on the way, cut it; try again, and another network",
            err=True,
        )
    if as_json:
        click.echo(json.dumps(record.of_singles(urls, way, measured)))
    else:
        terminal.show_singles(measured, console)
    if html is not None and measured.transfers:
        _write(html, report.of_singles(way, measured))
    if measured.interrupted:
        return _interrupted(len(measured.transfers), "transfer")
    return 1 if measured.failures or truncated else 0


def _pairs(
    url: str,
    control: str,
    way: Way,
    pairs: int,
    seed: str,
    as_json: bool,
    html: Path | None,
    console: Console,
) -> int:
    try:
        from mitmthrottle.measure import record, report, run, terminal
        from mitmthrottle.measure.verdict import judge
    except ModuleNotFoundError as missing:
        raise _not_installed(missing) from None
    with terminal.progress(2 * pairs + 2) as progress:
        measured = run.measure_pairs(url, control, way, pairs, seed, progress)
    verdict = judge(measured.pairs, seed)
    if as_json:
        click.echo(json.dumps(record.of_pairs(url, control, way, seed, measured, verdict)))
    else:
        terminal.show_pairs(url, control, way, measured, verdict, console)
    if html is not None:
        _write(html, report.of_pairs(url, control, way, measured, verdict))
    return _interrupted(len(measured.pairs), "pair") if measured.interrupted else 0


def _interrupted(count: int, what: str) -> int:
    click.echo(f"Interrupted after {count} {what}{'' if count == 1 else 's'}.", err=True)
    return INTERRUPTED


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"--html {path}: cannot be written ({error.strerror})") from None
    click.echo(f"Report: {path}", err=True)


def _not_installed(missing: ModuleNotFoundError) -> click.ClickException:
    return click.ClickException(
        f"`measure` needs {missing.name}, which is not installed: {remedy('measure')}"
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (colon and name.strip() and text.isprintable() and name.isascii()):
        raise click.BadParameter(
            f"`{text}` is no header: write 'Accept-Language: ru'", param_hint="--header"
        )
    return name.strip(), value.strip()


def _routes(texts: tuple[str, ...]) -> dict[str, Endpoint]:
    try:
        return dict(parse_resolve(text) for text in texts)
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--resolve") from None
