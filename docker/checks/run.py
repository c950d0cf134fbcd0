"""The demo's own checks: is it as it claims to be? What the profile `headless` runs.

Rule: they look from outside, as a phone, a desktop, a passer-by, over the demo's own network.
One line each; exit status 1 if anything is not as it should be.

    docker compose --profile headless run --rm checks
"""

from __future__ import annotations

import asyncio
import sys

import doors
import slowness


def main() -> int:
    faults: list[str] = []
    for what, check in (
        ("photos, videos and text at their rates", lambda: asyncio.run(slowness.faults())),
        ("the live page and the metrics", doors.live_page),
        ("Prometheus reads the metrics", doors.prometheus),
        ("the browser's screen, and only for this machine", doors.screen),
        ("no door leads elsewhere", doors.nothing_else),
    ):
        try:
            found = check()
        except (OSError, ValueError) as error:
            found = [f"{type(error).__name__}: {error}"]
        print(f"{'NOT OK' if found else 'ok':6} {what}", flush=True)
        for fault in found:
            print(f"       {fault}", flush=True)
        faults += found
    print(
        "All as it should be." if not faults else f"{len(faults)} things are not as they should be."
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
