"""Run mitmproxy's own tests of its HTTP layers, modes and proxy server, bare and with our patches.

    python tools/mitmproxy_suite.py CHECKOUT [--python PYTHON]

CHECKOUT is mitmproxy's source at a release that we support (`git clone --branch v12.2.3 ...`).
PYTHON is an interpreter with pytest 8, pytest-asyncio, hypothesis and this project's dependencies.

Rule: where no rule can match, we are not there.  Each policy below must pass what passes bare.
This file is also the pytest plugin that installs the patches (`-p mitmproxy_suite`).
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = (
    "test/mitmproxy/proxy/layers/http",
    "test/mitmproxy/proxy/layers/test_modes.py",
    "test/mitmproxy/addons/test_proxyserver.py",
)
OTHER_HOSTS = "when: {host: [.slow.example, .photos.example]}"
POLICIES = {
    "a policy without uploads, for other hosts": f"""
version: 1
name: suite
rules:
  - name: slow
    {OTHER_HOSTS}
    then: {{rate: 128 kbit/s}}
""",
    "a policy with many effects, for other hosts": f"""
version: 1
name: suite
rules:
  - name: refused
    when: {{host: .refused.example}}
    then: {{block: reset}}
  - name: photos
    when: {{host: .photos.example, content: photo}}
    then: {{rate: 128 kbit/s, delay: 300 ms}}
  - name: slow
    {OTHER_HOSTS}
    then: {{rate: [1 Mbit/s, {{limit: 4 Mbit/s, per: client}}], cut: {{after: 1 MB}}}}
""",
}
POLICY_VARIABLE = "MITMTHROTTLE_SUITE_POLICY"
TIMEOUT_S = 300


@pytest.fixture(autouse=True)
def _patched() -> Iterator[None]:
    """Our layers in the place of mitmproxy's for each test, as while the addon runs."""
    text = os.environ.get(POLICY_VARIABLE)
    if not text:
        yield
        return
    from mitmproxy.addons.proxyserver import Proxyserver

    from mitmthrottle.pacing import Schedule
    from mitmthrottle.policy import parse_policy
    from mitmthrottle.proxy.engine import Engine
    from mitmthrottle.proxy.mark import Marks
    from mitmthrottle.proxy.observer import Observers
    from mitmthrottle.proxy.patch import Patch

    class StoppedClock:
        """Most of these tests have no event loop, and nothing of theirs is ever due."""

        def __init__(self) -> None:
            self.schedule = Schedule()
            self.tick_s = math.inf

        def now(self) -> float:
            return 1000.0

        def submitted(self) -> None:
            raise AssertionError("a body is paced, and no rule is for its host")

        def timer_dropped(self) -> None: ...

        def wake_at(self, when: float, waker: object) -> None:
            raise AssertionError(f"{waker} is paced, and no rule is for its host")

    policy = parse_policy(text, "suite.yaml")
    patch = Patch(Engine(policy, Proxyserver(), StoppedClock(), Observers(), Marks()))
    patch.install()
    try:
        yield
    finally:
        patch.remove()


def run(checkout: Path, python: str, policy: str) -> tuple[str, int]:
    """pytest's last line, and its status; what failed is printed."""
    here = Path(__file__).resolve().parent
    environment = os.environ | {
        POLICY_VARIABLE: policy,
        "PYTHONPATH": os.pathsep.join((str(here), str(here.parent / "addons"))),
    }
    done = subprocess.run(
        [
            *(python, "-m", "pytest", *TESTS),
            *("-q", "--color=no", "--tb=short", "--capture=fd", "-p", "no:cacheprovider"),
            *("-p", "mitmproxy_suite"),
        ],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    lines = done.stdout.strip().splitlines() or ["no output"]
    if done.returncode:
        print(done.stdout if "-v" in sys.argv else "\n".join(failed(lines)))
    return lines[-1], done.returncode


def failed(lines: list[str]) -> list[str]:
    return [line for line in lines if re.match(r"(FAILED|ERROR)\b", line)] or lines[-20:]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="mitmproxy's source, with its tests")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to use")
    parser.add_argument("-v", action="store_true", help="print all that pytest says of failures")
    options = parser.parse_args()
    if not all((options.checkout / test).exists() for test in TESTS):
        parser.error(f"{options.checkout} has no {TESTS[0]}: give a checkout of mitmproxy")
    status = 0
    for title, policy in {"bare": "", **POLICIES}.items():
        line, code = run(options.checkout, options.python, policy)
        print(f"{title}: {line}", flush=True)
        status = status or code
    return status


if __name__ == "__main__":
    raise SystemExit(main())
