"""The demo's arithmetic: when is what was measured what the policy asked."""

from dataclasses import replace

import httpx
import pytest

from mitmthrottle.lab.client import Fetched
from mitmthrottle.lab.verdict import Outcome, faults, outcome
from mitmthrottle.lab.visits import DESKTOPS, PHONES, Visit, desktops, phones, plan
from mitmthrottle.policy import Decider, find_policy, load_policy

SLOW = 16_000.0
VISIT = Visit(phones(1)[0], "pbs.twimg.com", "/photo.jpg", "photo", "slowed")


def fetched(rate: float, size: int = 58_147, content_type: str = "image/jpeg") -> Fetched:
    headers = httpx.Headers({"content-length": str(size), "content-type": content_type})
    return Fetched(200, "HTTP/2", headers, size, 0.1, size / rate, rate)


def slowed(rate: float) -> Outcome:
    return Outcome(VISIT, fetched(rate), "photos", SLOW)


def free(rate: float) -> Outcome:
    visit = Visit(phones(1)[0], "example.org", "/photo.jpg", "photo", "free")
    return Outcome(visit, fetched(rate), None, None)


def drawn(slowed_of_20: int) -> list[Outcome]:
    visits = [Visit(d, "pbs.twimg.com", "/photo.jpg", "photo", "by share") for d in desktops()]
    return [
        Outcome(visit, fetched(SLOW), "half", SLOW)
        if n < slowed_of_20
        else Outcome(visit, fetched(5e6), None, None)
        for n, visit in enumerate(visits)
    ]


def test_all_as_asked() -> None:
    assert faults([slowed(15_300), slowed(16_700), free(5e6), *drawn(10)]) == []


@pytest.mark.parametrize("rate", [15_100.0, 16_900.0, 5e6])
def test_a_slowed_one_at_another_rate(rate: float) -> None:
    (fault,) = faults([slowed(rate), free(5e6)])
    assert fault.startswith("phone 1, photo of pbs.twimg.com: `photos` asks for 128 kbit/s")


def test_a_free_one_that_is_slow() -> None:
    (fault,) = faults([slowed(SLOW), free(4 * SLOW)])
    assert "example.org: nothing slows it, yet it came at 512 kbit/s" in fault


def test_what_the_policy_forgets() -> None:
    (fault,) = faults([replace(slowed(5e6), rule=None, asked_bytes_per_s=None)])
    assert fault.endswith("should be slowed, but no rule of the policy slows it")


def test_what_the_policy_slows_by_accident() -> None:
    (fault,) = faults([replace(free(SLOW), rule="substring", asked_bytes_per_s=SLOW)])
    assert fault.endswith("should be left alone, but `substring` slows it")


def test_a_body_that_is_cut() -> None:
    (fault,) = faults([replace(slowed(SLOW), fetched=replace(fetched(SLOW), size=10))])
    assert fault.endswith("10 bytes came of 58147")


def test_an_error_is_told_as_one() -> None:
    (fault,) = faults([replace(slowed(SLOW), fetched=replace(fetched(SLOW), status=502))])
    assert fault.endswith("status 502 instead of 200")


@pytest.mark.parametrize(
    ("slowed_of_20", "well"),
    [(0, False), (3, False), (4, True), (10, True), (16, True), (20, False)],
)
def test_about_half(slowed_of_20: int, well: bool) -> None:
    found = faults(drawn(slowed_of_20))
    assert found == (
        [] if well else [f"{slowed_of_20} of 20 desktops are slowed, which is not about half"]
    )


def test_the_plan_against_the_shipped_policy() -> None:
    """Every promise of the plan is what the policy decides, before anything is measured."""
    decider = Decider(load_policy(find_policy("twitter-2021")))
    types = {"photo": "image/jpeg", "video": "video/mp4", "text": "application/json"}
    lines = [
        outcome(decider, visit, fetched(1.0, content_type=types[visit.kind]))
        for visit in plan(phones(), desktops())
    ]
    asked = {
        promise: [line.asked_bytes_per_s for line in lines if line.visit.promise == promise]
        for promise in ("slowed", "by share", "free")
    }
    assert asked["slowed"] == [SLOW] * (PHONES + 1)
    assert set(asked["free"]) == {None}
    assert len(asked["by share"]) == DESKTOPS
    assert 4 <= asked["by share"].count(SLOW) <= 16
