"""`mitmthrottle compare`, but for its options: run it, write what was asked for, say what it is.

Rule: what can be found wrong before the first visit is said before it; every error is a
sentence with a remedy.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from mitmthrottle.compare.as_json import as_json
from mitmthrottle.compare.facts import CompareFailed, Plan
from mitmthrottle.compare.report import comparison_report
from mitmthrottle.compare.series import Stopped, compare
from mitmthrottle.compare.terminal import show, watching
from mitmthrottle.lab.chromium import NoChromium
from mitmthrottle.lab.proxy import ProxyFailed

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the signal's number."""


def run(console: Console, plan: Plan, html: Path, for_programs: bool) -> int:
    """The exit status: 0 compared, or 128 and a signal's number.

    For programs, the figures are printed as JSON; `console` has the words in either case.

    Raises CompareFailed for all that the user can put right, and PolicyError.
    """
    _check_page(plan.page)
    _must_be_writable(html)
    try:
        with watching(console, plan) as watcher:
            comparison = compare(plan, watcher)
    except (NoChromium, ProxyFailed) as error:
        raise CompareFailed(str(error)) from None
    except KeyboardInterrupt:
        console.print("stopped; nothing was written", highlight=False)
        return INTERRUPTED
    except Stopped as stopped:
        console.print("stopped; nothing was written", highlight=False)
        return 128 + int(stopped.args[0])
    show(console, comparison)
    _write(html, comparison_report(comparison))
    console.print(f"report: {html}", highlight=False, markup=False, soft_wrap=True)
    if for_programs:
        print(json.dumps(as_json(comparison), indent=1, ensure_ascii=False))
    return 0


def _check_page(page: str) -> None:
    try:
        parts = urlsplit(page)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise CompareFailed(f"`{page}` is no page's address: write https://www.example.org/")


def _must_be_writable(path: Path) -> None:
    folder = path.parent
    if path.is_dir():
        raise CompareFailed(f"{path} is a folder: name a file in it")
    if not folder.is_dir():
        raise CompareFailed(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise CompareFailed(f"{path} cannot be written: permission denied")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CompareFailed(f"{path} cannot be written: {error.strerror or error}") from None
