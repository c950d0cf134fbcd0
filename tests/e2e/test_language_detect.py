"""A censorship measurement finds what the two Twitter policies do: record and replay, target and
control interleaved, two-sample Kolmogorov-Smirnov on the samples of throughput.

As announced, photos of the site are slowed; as measured, whatever comes from its names. So the
site's text tells the two policies apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import trustme

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import language_shape as shape
from .answer import COMPLETE, Answer
from .figures import Figures
from .http1 import http1
from .language_replay import Comparison, compare, recording, running_replay

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

TARGET, CONTROL = "pbs.twimg.com", "images.example.org"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
PAIRS = 20
AT_ONCE = 10


@dataclass(frozen=True)
class Pair:
    """A replay of the target's photo, of its text, of the control, and of the control without a
    throttle on the way."""

    target: Answer
    text: Answer
    control: Answer
    free: Answer


@pytest.fixture(scope="module")
def replay() -> Iterator[tuple[int, trustme.CA]]:
    authority = trustme.CA()
    with running_replay(recording(), (TARGET, CONTROL), authority) as port:
        yield port, authority


def fetch(proxy: RunningProxy, host: str, path: str) -> Answer:
    client = http1(proxy, host, secure=True)
    answer = client.get(path, [("User-Agent", PHONE)])
    client.close()
    assert (answer.status, answer.end, answer.size) == (200, COMPLETE, 48_000)
    return answer


@pytest.mark.parametrize(
    ("policy", "rate", "text_slowed"),
    [("twitter-2021", 16_000, False), ("twitter-2021-measured", 17_500, True)],
)
def test_the_target_is_found_slowed_and_the_control_is_not(
    policy: str,
    rate: float,
    text_slowed: bool,
    replay: tuple[int, trustme.CA],
    figures: Figures,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    port, authority = replay
    ca_path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(ca_path)
    resolve = {"*:443": ("127.0.0.1", port)}
    # What nobody paces, mitmproxy holds back to its end and then sends at once, unless told to
    # stream: then the control would look like no transfer at all.
    stream = ("--set", "stream_large_bodies=1")
    with (
        running_proxy(policy, upstream_ca=ca_path, resolve=resolve, options=stream) as throttled,
        running_proxy(None, upstream_ca=ca_path, resolve=resolve, options=stream) as bare,
    ):
        for each in (throttled, bare):
            fetch(each, CONTROL, "/photo")  # certificates are made, modules loaded

        def pair(number: int) -> Pair:
            ways = {
                "target": (throttled, TARGET, "/photo"),
                "control": (throttled, CONTROL, "/photo"),
                "text": (throttled, TARGET, "/text"),
                "free": (bare, CONTROL, "/photo"),
            }
            # Interleaved: no order that one kind would profit from.
            order = [*ways] if number % 2 else [*reversed(ways)]
            return Pair(**{name: fetch(*ways[name]) for name in order})

        with ThreadPoolExecutor(AT_ONCE) as pool:
            pairs = list(pool.map(pair, range(PAIRS)))
        assert "Traceback" not in throttled.log()

    found = [compare(each.target, each.control) for each in pairs]
    texts = [compare(each.text, each.control) for each in pairs]
    controls = [compare(each.control, each.free) for each in pairs]
    tell(figures, policy, "target, against control", found)
    tell(figures, policy, "text of the target, against control", texts)
    tell(figures, policy, "control, against no throttle", controls)
    assert sum(each.slowed for each in found) == PAIRS
    assert sum(each.slowed for each in controls) == 0
    assert sum(each.slowed for each in texts) == (PAIRS if text_slowed else 0)
    # A converging value such as 128 kbit/s is what a shaper or policer gives away.
    # All but two at each end, since the machine may have been busy with something else.
    means = sorted(each.one_bytes_per_s for each in found)
    assert statistics.median(means) == pytest.approx(rate, rel=0.25)
    assert means[-3] < 1.1 * means[2]


def tell(figures: Figures, policy: str, what: str, found: list[Comparison]) -> None:
    figures.add(
        f"detect, {policy}, {what}:",
        f"slowed {sum(each.slowed for each in found)} of {len(found)}, "
        f"D {min(each.distance for each in found):.2f} to "
        f"{max(each.distance for each in found):.2f}, "
        f"p {min(each.p_value for each in found):.2g} to "
        f"{max(each.p_value for each in found):.2g}, "
        f"medians {statistics.median(each.one_bytes_per_s for each in found) * 8e-3:.0f} and "
        f"{statistics.median(each.other_bytes_per_s for each in found) * 8e-3:.0f} kbit/s",
    )


@pytest.mark.parametrize(
    ("one", "other", "distance", "p_value"),
    [
        ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), 1.0, 2 / 252),
        ((1, 2, 3, 4), (10, 20), 1.0, 2 / 15),
        ((1, 2, 3), (1.5, 2.5, 3.5), 1 / 3, 1.0),
        ((1, 2, 3), (1, 2, 3), 0.0, 1.0),
        # 3 and 3 without overlap but for one: 2 of the 20 orders are as far apart as 1, 12 as 2/3.
        ((1, 2, 4), (3, 5, 6), 2 / 3, 12 / 20),
    ],
)
def test_kolmogorov_and_smirnov_by_hand(
    one: tuple[float, ...], other: tuple[float, ...], distance: float, p_value: float
) -> None:
    assert shape.ks_distance(one, other) == pytest.approx(distance)
    assert shape.ks_p_value(one, other) == pytest.approx(p_value)
