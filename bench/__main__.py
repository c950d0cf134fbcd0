"""All benches, one after another, and the report: what `make bench` runs.

Rule: one that fails does not keep the others from running, but the exit status tells.
"""

from __future__ import annotations

import subprocess
import sys
import time

import click

from .client import ROOT
from .results import console

# With what each may take at most, in minutes.
BENCHES = {
    "accuracy": 30.0, "many": 75.0, "shared": 15.0, "crosstalk": 15.0, "idle": 30.0,
    "watched": 20.0, "churn": 45.0,
}  # fmt: skip


@click.command()
@click.option("--quick", is_flag=True, help="Short versions of all; nothing is kept.")
@click.option("--minutes", default=30.0, show_default=True, help="Length of the churn.")
def main(quick: bool, minutes: float) -> None:
    """Measure everything and write bench/RESULTS.md: about two hours; --quick, ten minutes."""
    failed = []
    for name, longest in BENCHES.items():
        options = ["--quick"] if quick else []
        if name == "churn" and not quick:
            options, longest = ["--minutes", str(minutes)], minutes + 15
        started = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", f"bench.{name}", *options], cwd=ROOT)
        try:
            status: int | str = process.wait(longest * 60)
        except subprocess.TimeoutExpired:
            status = f"not done after {longest:.0f} min"
            process.terminate()  # it stops what it has started
            process.wait(60)
        if status != 0:
            failed.append(f"{name} ({status})")
        console.print(f"{name}: {(time.monotonic() - started) / 60:.1f} min\n")
    if not quick:
        subprocess.run([sys.executable, "-m", "bench.report"], cwd=ROOT, check=True, timeout=60)
    if failed:
        raise click.ClickException("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
