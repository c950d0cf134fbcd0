"""Runs scenarios: `python -m tests.simulation --runs 500`; one again: `--seed 7 --keep 1,4,9`."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time

from .draw import scenario
from .scenario import examine
from .shrink import shrink


def again(seed: int, length: int, kept: list[int]) -> str:
    """The command that runs it again."""
    return f"make simulate SEED={seed} STEPS={length} KEEP={','.join(map(str, kept))}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--runs", type=int, default=1, help="so many seeds")
    parser.add_argument("--steps", type=int, default=16, help="so many events in a run, at most")
    parser.add_argument("--keep", default="", help="only the steps in these places: 1,4,9")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="no longer than that; 0: as long as it takes"
    )
    parser.add_argument("--shrink-seconds", type=float, default=60.0)
    parser.add_argument("--all", action="store_true", help="go on after a fault; shrink nothing")
    chosen = parser.parse_args()
    logging.getLogger("mitmproxy").setLevel(logging.WARNING)
    gc.collect()
    gc.freeze()
    gc.disable()
    began = time.perf_counter()
    exchanges = steps_done = runs = failed = 0
    virtual_s = 0.0
    for seed in range(chosen.seed, chosen.seed + chosen.runs):
        steps = scenario(seed, chosen.steps)
        kept = (
            [int(place) for place in chosen.keep.split(",")]
            if chosen.keep
            else list(range(len(steps)))
        )
        outcome = examine(seed, [steps[place] for place in kept])
        runs += 1
        exchanges += outcome.exchanges
        steps_done += outcome.steps
        virtual_s += outcome.virtual_s
        if outcome.faults:
            failed += 1
            print(f"seed {seed}:")
            for fault in outcome.faults:
                print(f"  {fault}")
            if not chosen.all:
                if len(kept) == len(steps) and chosen.shrink_seconds:
                    kept = shrink(seed, steps, outcome.faults[0].kind, chosen.shrink_seconds)
                print("its steps:")
                for place in kept:
                    print(f"  {place:3} {steps[place]}")
                print(f"run it again: {again(seed, chosen.steps, kept)}")
                break
        if chosen.seconds and time.perf_counter() - began > chosen.seconds:
            break
    took = time.perf_counter() - began
    print(
        f"{runs} runs, {failed} failed: {exchanges} exchanges, {steps_done} steps, "
        f"{virtual_s:.0f} s of their time in {took:.1f} s ({exchanges / took:.0f} exchanges/s)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
