"""Presets: each figure as its source has it, and how `like` fills in what a rule leaves open."""

from __future__ import annotations

from pathlib import Path

import pytest

from mitmthrottle.policy import Then, parse_policy, presets, shipped_policies

# (down, up in bit/s, round trip in ms), as the source files say, written down a second time.
FIGURES: dict[str, tuple[float, float, float]] = {
    "wpt/cable": (5_000_000, 1_000_000, 28),
    "wpt/dsl": (1_500_000, 384_000, 50),
    "wpt/fios": (20_000_000, 5_000_000, 4),
    "wpt/dial": (49_000, 30_000, 120),
    "wpt/3g": (1_600_000, 768_000, 300),
    "wpt/3gfast": (1_600_000, 768_000, 150),
    "wpt/3gslow": (780_000, 330_000, 200),
    "wpt/edge": (240_000, 200_000, 840),
    "wpt/2g": (35_000, 32_000, 1300),
    "wpt/4g": (9_000_000, 9_000_000, 170),
    "wpt/lte": (12_000_000, 12_000_000, 70),
    "devtools/3g": (500_000 * 0.8, 500_000 * 0.8, 400 * 5),
    "devtools/slow-4g": (1_600_000 * 0.9, 750_000 * 0.9, 150 * 3.75),
    "devtools/fast-4g": (9_000_000 * 0.9, 1_500_000 * 0.9, 60 * 2.75),
    "lighthouse/mobile-slow-4g": (1.6 * 1024 * 1000, 750_000, 150),
    "lighthouse/mobile-slow-4g-devtools": (1.6 * 1024 * 1000 * 0.9, 675_000, 150 * 3.75),
    "lighthouse/mobile-regular-3g": (700_000, 700_000, 300),
    "lighthouse/mobile-regular-3g-devtools": (630_000, 630_000, 300 * 3.75),
    "lighthouse/desktop-dense-4g": (10 * 1024 * 1000, 10 * 1024 * 1000, 40),
    "atc/2g-developing-rural": (20_000, 18_000, 1300),
    "atc/2g-developing-urban": (35_000, 32_000, 1300),
    "atc/edge-good": (250_000, 200_000, 350 + 370),
    "atc/edge-average": (240_000, 200_000, 400 + 440),
    "atc/edge-lossy": (240_000, 200_000, 400 + 440),
    "atc/3g-average": (780_000, 330_000, 200),
    "atc/3g-good": (850_000, 420_000, 190),
    "atc/dsl": (2_000_000, 256_000, 10),
    "atc/cable": (6_000_000, 1_000_000, 4),
    "firefox/gprs": (50 * 1024, 20 * 1024, 500),
    "firefox/regular-2g": (250 * 1024, 50 * 1024, 300),
    "firefox/good-2g": (450 * 1024, 150 * 1024, 150),
    "firefox/regular-3g": (750 * 1024, 250 * 1024, 100),
    "firefox/good-3g": (1.5 * 1024 * 1024, 750 * 1024, 40),
    "firefox/regular-4g": (4 * 1024 * 1024, 3 * 1024 * 1024, 20),
    "firefox/dsl": (2 * 1024 * 1024, 1024 * 1024, 5),
    "firefox/wi-fi": (30 * 1024 * 1024, 15 * 1024 * 1024, 2),
    "apple/3g": (780_000, 330_000, 200),
    "apple/edge": (240_000, 200_000, 840),
    "apple/dsl": (2_000_000, 256_000, 10),
    "apple/lte": (50_000_000, 10_000_000, 115),
    "apple/wi-fi": (40_000_000, 33_000_000, 2),
    "apple/very-bad": (1_000_000, 1_000_000, 1000),
}


def test_the_table_names_every_preset() -> None:
    assert set(presets()) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_each_has_its_sources_figures(name: str) -> None:
    preset = presets()[name]
    down, up, rtt_ms = FIGURES[name]
    assert preset.down_bytes_per_s == pytest.approx(down / 8)
    assert preset.up_bytes_per_s == pytest.approx(up / 8)
    assert preset.rtt_s == pytest.approx(rtt_ms / 1000)
    assert preset.source
    assert preset.url.startswith("https://")
    assert preset.retrieved.startswith("2026-")


def test_each_file_of_presets_is_read() -> None:
    folder = shipped_policies()[0].parent / "presets"
    assert {path.stem for path in folder.glob("*")} == {name.split("/")[0] for name in presets()}


def then_of(text: str, more: str = "") -> Then:
    head = f"version: 1\nname: x\n{more}rules:\n"
    return parse_policy(f"{head}  - then: {text}\n", "policy").rules[0].then


def test_like_fills_rate_upload_and_delay() -> None:
    then = then_of("{like: wpt/3gslow}")
    assert then.describe() == (
        "like wpt/3gslow, 780 kbit/s per client, delay 200 ms, upload 330 kbit/s per client"
    )
    assert (then.rate[0].limit_bytes_per_s, then.rate[0].per) == (97500.0, "client")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{like: wpt/3gslow, rate: 1 Mbit/s}",
            "1 Mbit/s per response, delay 200 ms, upload 330 kbit/s per client",
        ),
        (
            "{like: wpt/3gslow, delay: 1 s, burst: 64 KiB, as: policer}",
            "780 kbit/s per client, burst 64 KiB, policed, delay 1 s, upload 330 kbit/s per client",
        ),
        (
            "{like: wpt/3gslow, upload: {rate: 1 Mbit/s}}",
            "780 kbit/s per client, delay 200 ms, upload 1 Mbit/s per response",
        ),
        (
            "{like: WPT/3GSlow, upload: {delay: 1 s}}",
            "780 kbit/s per client, delay 200 ms, upload 330 kbit/s per client, delay 1 s",
        ),
    ],
)
def test_other_keys_override(text: str, said: str) -> None:
    assert then_of(text).describe() == f"like wpt/3gslow, {said}"


def test_a_policys_own_default_says_who_shares_a_preset() -> None:
    then = then_of("{like: wpt/3gslow}", "defaults: {per: rule}\n")
    assert [limit.per for limit in then.rate] == ["rule"]
    assert then.upload is not None
    assert [limit.per for limit in then.upload.rate] == ["rule"]


def test_presets_are_data_files_beside_the_policies() -> None:
    """So that the wheel, which takes the folder, has them as well."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'policies = "mitmthrottle/policies"' in text
