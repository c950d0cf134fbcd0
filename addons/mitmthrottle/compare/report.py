"""The report: one HTML file that needs nothing else.

Rule: no script, no external address, bounded in size. Whatever a page or a policy has said is
escaped by the template engine; only our own style sheet and JPEGs go in as they are.
"""

from __future__ import annotations

import base64
import datetime
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mitmthrottle.compare import layout, words
from mitmthrottle.compare.chromium import PROFILES
from mitmthrottle.compare.facts import VARIANTS, Comparison, Frame
from mitmthrottle.compare.figures import METRICS, figures, rule_figures, typical

_HERE = Path(__file__).parent
_MAX_POLICY_CHARS = 20_000


def comparison_report(comparison: Comparison) -> str:
    """A report as one HTML text that needs nothing else: film strips, figures, what was slowed.

    Needs `mitmthrottle[compare]`.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        seconds=words.seconds,
        size=words.size,
        rate=words.rate,
        data_uri=_data_uri,
        percent=lambda part: f"{100 * part:.2f}%",
    )
    shown = {variant: typical(comparison.of(variant)) for variant in VARIANTS}
    table = figures(comparison)
    profile = PROFILES[comparison.plan.device]
    started = datetime.datetime.fromtimestamp(comparison.started, datetime.UTC)
    return environment.get_template("report.html").render(
        style=(_HERE / "report.css").read_text("utf-8"),
        comparison=comparison,
        plan=comparison.plan,
        policy_text=comparison.policy_text[:_MAX_POLICY_CHARS],
        policy_file=comparison.plan.policy.name,
        findings=words.findings(comparison),
        film=layout.film(shown),
        portrait=profile.height > profile.width,
        ratio=profile.height / profile.width,
        waterfall=layout.waterfall(shown),
        figures=table,
        amount=words.amount,
        span=words.span,
        difference=words.difference,
        dots=layout.dots,
        rules=rule_figures(comparison),
        video_words=layout.video_words,
        shown=shown,
        metrics=[metric for metric in METRICS if metric.key in {f.metric.key for f in table}],
        names={"without": "Without the policy", "with": "With the policy"},
        started=f"{started:%d %B %Y, %H:%M} UTC",
        version=metadata.version("mitmthrottle"),
        profile=profile,
    )


def _data_uri(frame: Frame) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(frame.jpeg).decode()
