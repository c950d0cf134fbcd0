"""`compare_page`: a comparison for programs, with nothing to be watched meanwhile.

Rule: what `mitmthrottle compare` does, said in arguments; it adds nothing of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mitmthrottle.compare.facts import CompareFailed, Comparison, Device, Plan, Run, Variant
from mitmthrottle.compare.series import Stopped, compare
from mitmthrottle.lab.chromium import NoChromium
from mitmthrottle.lab.proxy import ProxyFailed
from mitmthrottle.source import PolicySource, policy_file


def compare_page(
    page: str,
    policy: PolicySource,
    *,
    runs: int = 3,
    device: Device = "desktop",
    timeout_s: float = 60.0,
    chromium: Path | None = None,
    upstream_ca: Path | None = None,
    insecure: bool = False,
    resolve: Mapping[str, tuple[str, int]] | None = None,
    play: bool = True,
) -> Comparison:
    """Load a page in headless Chromium with and without a policy, by turns, `runs` times each.

    `policy` is what `load_policy` takes. `device` is `phone` or `desktop`; `timeout_s` how long one
    visit is watched at most, in seconds; `chromium` the browser's program, if not the one on the
    PATH. `upstream_ca` is a PEM file of authorities to trust towards origins besides the public
    ones; `insecure`: verify no origin. `resolve` is as `running_proxy` has it. `play` starts the
    videos in view that do not start by themselves. It takes as long as the visits do.

    Raises PolicyError and TypeError as `load_policy` does; CompareFailed where there is nothing to
    compare: no browser, no proxy, a page that does not open; SystemExit if SIGTERM or SIGHUP comes.
    The browser and the proxy have ended then. Needs `mitmthrottle[compare]`.
    """
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-compare-") as folder:
        plan = Plan(
            page=page,
            policy=policy_file(policy, Path(folder)),
            runs=runs,
            device=device,
            timeout_s=timeout_s,
            chromium=chromium,
            upstream_ca=upstream_ca,
            insecure=insecure,
            resolve=dict(resolve or {}),
            play=play,
        )
        try:
            return compare(plan, _Nobody())
        except (NoChromium, ProxyFailed) as error:
            raise CompareFailed(str(error)) from None
        except Stopped as stopped:
            raise SystemExit(128 + int(stopped.args[0])) from None


class _Nobody:
    """Watches no progress."""

    def begins(self, variant: Variant, number: int) -> None:
        pass

    def says(self, what: str) -> None:
        pass

    def disturbed(self, run: Run) -> None:
        pass

    def ended(self, run: Run) -> None:
        pass
