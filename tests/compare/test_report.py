"""The report as a text: escaped, bounded, with nothing from outside."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mitmthrottle.compare.as_json import as_json
from mitmthrottle.compare.facts import Comparison, Frame
from mitmthrottle.compare.film import MAX_PICTURE_BYTES
from mitmthrottle.compare.layout import MAX_ROWS, waterfall
from mitmthrottle.compare.report import comparison_report

from .made import RULE, SLOWED, comparison, request, run, slowed_run, usual, video

HOSTILE = '"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)>'
TEXT_LIMIT = 400_000


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_slowed_request_is_named_with_its_rule_and_rates() -> None:
    text = re.sub(r"\s+", " ", comparison_report(usual()))
    assert f"{RULE} · asked 128 kbit/s, measured 128 kbit/s" in text
    assert "policy.yaml, line 12" in text
    assert "+3.55 s (× 7.45)" in text
    assert "The policy slows 1 of 2 requests." in text


def hostile() -> Comparison:
    slowed = replace(SLOWED, rule=HOSTILE, outcome=HOSTILE)
    odd = request(HOSTILE, kind=HOSTILE, failure=HOSTILE, slowed=slowed)
    film = replace(video(1.0), name=HOSTILE, error=HOSTILE)
    made = comparison(
        [run(requests=(odd,), console_errors=(HOSTILE,), videos=(film,), protocol=HOSTILE)],
        [slowed_run(requests=(odd,), record=(slowed,), videos=(film,), largest=HOSTILE)],
        page=f"https://www.example.org/{HOSTILE}",
    )
    return replace(made, policy_name=HOSTILE, policy_text=HOSTILE, browser=HOSTILE)


@pytest.mark.parametrize("made", [usual(), hostile()], ids=["usual", "hostile"])
def test_no_script_and_nothing_from_outside(made: Comparison) -> None:
    tags = Tags(comparison_report(made)).seen
    assert "img" not in {tag for tag, _ in tags}
    assert "script" not in {tag for tag, _ in tags}
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
        style = attributes.get("style") or ""
        assert all(
            url.startswith("data:image/jpeg;base64,") for url in re.findall(r"url\((.*?)\)", style)
        )
    policy = next(a["content"] for t, a in tags if a.get("http-equiv") and t == "meta")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_queries_stay_out_of_it() -> None:
    secret = request("photo.jpg?token=s3cret")
    assert "s3cret" not in comparison_report(comparison([run()], [slowed_run(requests=(secret,))]))


def test_a_page_of_thousands_gives_a_report_of_bounded_size() -> None:
    requests = tuple(request(f"{n}.jpg", start_s=n / 100) for n in range(5000))
    late = replace(requests[4999], slowed=SLOWED)
    frames = tuple(Frame(n / 10, bytes([n % 256]) * MAX_PICTURE_BYTES) for n in range(600))
    made = comparison(
        [run(requests=requests, frames=frames, paint_s=50.0)],
        [slowed_run(requests=(*requests[:4999], late), frames=frames, paint_s=55.0)],
    )
    text = comparison_report(made)
    pictures = text.count("data:image/jpeg")
    assert pictures <= 48
    assert len(text) < TEXT_LIMIT + pictures * MAX_PICTURE_BYTES * 4 / 3
    fall = waterfall({"without": made.runs[0], "with": made.runs[1]})
    assert len(fall.rows) == MAX_ROWS
    assert fall.rows[-1].slowed is not None  # what is slowed is never left out for what is not
    assert fall.left_out == 5000 - MAX_ROWS
    assert "4850 more are not shown" in text


def test_a_request_of_one_kind_only_says_so() -> None:
    made = {
        "without": run(requests=(request("a"), request("ad"))),
        "with": slowed_run(requests=(request("a"), request("beacon", end_s=None))),
    }
    rows = waterfall({"without": made["without"], "with": made["with"]}).rows
    assert [(row.name, row.note, set(row.bars)) for row in rows] == [
        ("a", "", {"with", "without"}),
        ("beacon", "only with the policy", {"with"}),
        ("ad", "only without the policy", {"without"}),
    ]
    assert rows[1].bars["with"].open
    assert all(
        0 <= bar.start + bar.wait + bar.receive <= 1.001
        for row in rows
        for bar in row.bars.values()
    )


def test_a_blocked_page_has_a_report_too() -> None:
    blocked = slowed_run(
        failure="net::ERR_CONNECTION_RESET", paint_s=math.inf, load_s=math.inf, ttfb_s=math.inf,
        first_contentful_paint_s=math.inf, dom_content_loaded_s=math.inf, requests=(), frames=(),
        watched_s=0.2,
    )  # fmt: skip
    text = comparison_report(comparison([run()], [blocked]))
    assert "With the policy: net::ERR_CONNECTION_RESET" in text
    assert "not in time" in text
    assert "only without" in text


def test_the_json_is_json_and_says_the_same() -> None:
    never = slowed_run(paint_s=math.inf, videos=(video(math.inf),))
    made = as_json(comparison([run(videos=(video(0.5),))], [never]))
    again = json.loads(json.dumps(made, allow_nan=False))
    paint = again["figures"]["largest_contentful_paint_s"]
    assert paint["without"]["median"] == 0.5
    assert (paint["with"]["median"], paint["with"]["missed"], paint["difference"]) == (
        None,
        1,
        None,
    )
    assert again["runs"]["with"][0]["videos"][0]["started_s"] is None
    photo = again["runs"]["with"][0]["request_list"][1]
    assert photo["slowed"]["rule"] == RULE
    assert photo["slowed"]["asked_bytes_per_s"] == 16_000.0
    assert again["rules"][0]["responses"] == 1
    assert again["order"] == ["without", "with"]
