"""Fuzzes the loader: `python tests/policy/fuzz_load.py --minutes 10`.

The one rule: whatever the text, the answer is a policy that decides, prints and reads again as
the same, or a PolicyError; within bounds of time and memory. The first input that breaks this is
saved and told. Inputs are shipped, broken and documented policies, and traces, torn and mixed;
the seed makes a run repeatable.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mitmthrottle.policy import (
    Decider,
    Exchange,
    PolicyError,
    parse_policy,
    parse_policy_with_warnings,
    shipped_policies,
)
from mitmthrottle.policy.language.trace import parse_trace

ROOT = Path(__file__).parents[2]
MOST_CPU_S = 5.0  # for one input; the largest here are a few kB
MOST_MEMORY_BYTES = 2**30
LARGEST_INPUT = 20_000

# An underscore stands for a space.
PIECES = [
    *[
        "\n",
        "\n  ",
        "  ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "!x ",
    ],
    *["|", ">", "'", '"', "#", "\t", "---\n", "...\n", "? ", "~", "~(", "0", "-1", "1e400", "null"],
    *[
        "\x85",
        "\u2028",
        "\ufeff",
        "\ud7ff",
        "𝕏",
        "é",
        "0x7f",
        ".inf",
        ".nan",
        "true",
        "yes",
        "@",
        "`",
    ],
    *["2021-03-10", "10:30", "128_kbit/s", "1e9_Mbit/s", "9" * 21, "50%", "0%", f"0.{'0' * 30}1_s"],
    *[
        "366_d",
        "1_us",
        "08:00-16:00",
        "mon-fri",
        "Europe/Moscow",
        "wpt/3gslow",
        "~t.co",
        ".a",
        "*.a",
    ],
    *["::1", "10_/_min", "0/s", "1/1_us", "x.csv", "/dev/zero", "/dev/stdin.csv", "\\", "\\x00"],
    *["\\ud800", "\\U0010ffff"],
]
_KEYS = (
    "version name description sources seed defaults hosts clients rules when then host path method "
    "scheme port status content size client header share active days hours tz from until after for "
    "rate limit per burst as delay mean jitter distribution percentiles stall every cut how block "
    "requests quota free stages trace upload like pass address device user_agent user of percent"
)
KEYS = _KEYS.split()

EXCHANGES = [
    Exchange("a.com"),
    Exchange("twitter.com", status=200, content_type="image/jpeg", size=10**6, time=1.6e9),
    Exchange("t.co", opaque=True, elapsed_s=100.0, client_address="10.0.0.1"),
    Exchange("x.example.com", method="POST", content_type="text/plain", seen=10, elapsed_s=1e9),
    Exchange("", path="", websocket=True, time=float("nan"), elapsed_s=float("inf")),
]


class TooLong(Exception):
    """One input took more than its share of the processor."""


def samples() -> tuple[list[str], list[str]]:
    """(policies, traces)"""
    folder = Path(__file__).parent
    policies = [path.read_text(encoding="utf-8") for path in shipped_policies()]
    policies += [path.read_text(encoding="utf-8") for path in (folder / "broken").glob("*.yaml")]
    docs = ROOT / "docs" / "policy.md"
    if docs.exists():
        blocks = re.findall(r"```yaml\n(.*?)```", docs.read_text(encoding="utf-8"), re.DOTALL)
        policies += [block for block in blocks if "version:" in block]
    traces = [path.read_text(encoding="utf-8") for path in folder.rglob("*.csv")]
    return policies, traces


def torn(rng: random.Random, texts: list[str]) -> str:
    """One of the texts after a few slips, or with parts of another."""
    text = rng.choice(texts)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        start = rng.randrange(len(text) + 1)
        match rng.randrange(8):
            case 0:  # a piece in place of some characters
                piece = rng.choice(PIECES).replace("_", " ")
                text = text[:start] + piece + text[start + rng.randrange(8) :]
            case 1:  # a key or a value in place of a word
                words = list(re.finditer(r"[\w.~%/-]+", text))
                if words:
                    word = rng.choice(words)
                    other = rng.choice(KEYS + PIECES).replace("_", " ")
                    text = text[: word.start()] + other + text[word.end() :]
            case 2:  # a line twice, or many times
                lines = text.splitlines(keepends=True)
                if lines:
                    at = rng.randrange(len(lines))
                    lines[at : at + 1] = [lines[at]] * rng.choice((0, 2, 2, 50))
                    text = "".join(lines)
            case 3:  # a part of another one
                other = rng.choice(texts)
                begin = rng.randrange(len(other) + 1)
                text = text[:start] + other[begin : begin + rng.randrange(200)] + text[start:]
            case 4:  # lines of another one, in their place
                lines, more = text.splitlines(keepends=True), rng.choice(texts).splitlines(True)
                if lines and more:
                    begin = rng.randrange(len(more))
                    lines.insert(rng.randrange(len(lines)), "".join(more[begin : begin + 4]))
                    text = "".join(lines)
            case 5:  # a part of it many times
                part = text[start : start + rng.randrange(1, 20)]
                text = text[:start] + part * rng.choice((2, 30, 300)) + text[start:]
            case 6:  # the end is missing
                text = text[:start] if start else text
            case _:  # any character
                char = chr(rng.choice((rng.randrange(128), rng.randrange(0xD800))))
                text = text[:start] + char + text[start + 1 :]
    return text[:LARGEST_INPUT]


def try_policy(text: str) -> bool:
    """Whether it was accepted; raises whatever the loader should not."""
    try:
        policy, warnings = parse_policy_with_warnings(text, "/nowhere/f.yaml", 1.7e9)
    except PolicyError as error:
        broken = error
    else:
        broken = None
    if broken is not None:
        assert broken.problems
        assert all(fault.message and str(fault) for fault in broken.problems)
        return False
    assert all(fault.severity == "warning" for fault in warnings)
    decider = Decider(policy)
    for exchange in EXCHANGES:
        decider.decide(exchange)
        decider.decide_request(exchange)
        decider.decide_upload(exchange)
        decider.explain(exchange)
    for rule in policy.rules:
        assert rule.then.describe()
        time_s = 0.0
        for _ in range(5):
            effects, time_s = rule.then.at(time_s)
            assert not effects.stages
        if rule.then.quota is not None:
            rule.then.quota.window(1.7e9, 1.6e9)
    assert parse_policy(policy.to_yaml(), "/nowhere/f.yaml") == policy
    return True


def try_trace(text: str) -> bool:
    stages, faults = parse_trace(text, "t.csv")
    assert bool(stages) != bool(faults)
    return bool(stages)


def _too_long(*_: Any) -> None:
    raise TooLong(f"more than {MOST_CPU_S} s of processor time")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--save", type=Path, default=Path("fuzz-input.txt"))
    given = options.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    signal.signal(signal.SIGPROF, _too_long)
    policies, traces = samples()
    tried = accepted = 0
    slowest, started = 0.0, time.monotonic()
    while time.monotonic() < started + given.minutes * 60:
        is_trace = rng.random() < 0.1
        text = torn(rng, traces if is_trace else policies)
        attempt: Callable[[str], bool] = try_trace if is_trace else try_policy
        before = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
        try:
            accepted += attempt(text)
        except BaseException:
            signal.setitimer(signal.ITIMER_PROF, 0)
            given.save.write_text(text, encoding="utf-8", errors="surrogatepass")
            traceback.print_exc()
            print(f"input {tried} of seed {seed}: saved as {given.save}")
            return 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - before)
        tried += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"seed {seed}: {tried} inputs in {given.minutes:g} min, {accepted} accepted, "
        f"slowest {slowest:.2f} s of processor time, at most {peak:.0f} MB of memory"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
