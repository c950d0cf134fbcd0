"""What is kept of a body that has ended: nothing, whatever its rule says."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from .playbook import Wire, wire
from .test_body_life import GET, SHORT, policy

FEW, MANY = 50, 250

EFFECTS = {
    "rate": "rate: [1 MB/s, {limit: 4 MB/s, per: client}]",
    "upload": "upload: {rate: {limit: 1 MB/s, per: rule}}",
    "stages": "stages: [{for: 24 h, rate: 1 MB/s}, {rate: 8 kB/s}]",
    "requests": "requests: 100 / 10 s",
    "quota": "quota: {free: 1 GB, per: client, every: day}, rate: 8 kB/s",
    "like": "like: wpt/cable",
}


def ask(w: Wire, times: int) -> None:
    for _ in range(times):
        w.request(GET)
        w.respond(SHORT)
        w.pass_time(1.0)
        assert w.received().endswith(b"abc")
        w.sent.clear()
        w.flows.clear()
        w.hooks.clear()


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_request_leaves_nothing(effect: str) -> None:
    with wire(policy(EFFECTS[effect])) as w:
        ask(w, FEW)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            ask(w, MANY)
            gc.collect()
            kept = (tracemalloc.get_traced_memory()[0] - before) / MANY
        finally:
            tracemalloc.stop()
        assert w.nothing_left()
        assert kept < 512
