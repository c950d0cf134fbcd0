"""What was measured, as JSON: for other programs, and to be kept.

Rule: names are stable once shipped and end in their unit, all SI; what is not known is null. They
are listed in docs/measure.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mitmthrottle.measure.findings import SAMPLES, Verdict
from mitmthrottle.measure.run import Paired, Singles
from mitmthrottle.measure.shape import Shape, shape_of
from mitmthrottle.measure.transfer import Transfer
from mitmthrottle.measure.way import Way

NO_CONTROL = "no control was measured: give one with --control"


def of_pairs(
    url: str, control: str, way: Way, seed: str, measured: Paired, verdict: Verdict
) -> dict[str, Any]:
    """A comparison."""
    comparison, delay = verdict.comparison, verdict.delay
    ratio = comparison.ratio if comparison else None
    return _finite(
        {
            "target": url,
            "control": control,
            "differentiated": verdict.differentiated,
            "mechanism": verdict.mechanism,
            "statistic": comparison.statistic if comparison else None,
            "p_value": comparison.p_value if comparison else None,
            "target_bytes_per_s": verdict.target_bytes_per_s,
            "control_bytes_per_s": verdict.control_bytes_per_s,
            "pairs": verdict.pairs,
            "reason": verdict.reason,
            "slower": verdict.slower,
            "ratio": ratio.median if ratio else None,
            "ratio_low": ratio.low if ratio else None,
            "ratio_high": ratio.high if ratio else None,
            "ks_p_value": comparison.ks_p_value if comparison else None,
            "area": comparison.area if comparison else None,
            "agreement": comparison.agreement if comparison else None,
            "span_bytes": verdict.span_bytes,
            "samples_per_transfer": SAMPLES,
            "target_first_byte_s": verdict.target_first_byte_s,
            "control_first_byte_s": verdict.control_first_byte_s,
            "delay_s": delay.median if delay else None,
            "delay_low_s": delay.low if delay else None,
            "delay_high_s": delay.high if delay else None,
            "delay_p_value": verdict.delay_p_value,
            "target_failures": verdict.target_failures,
            "control_failures": verdict.control_failures,
            "interrupted": measured.interrupted,
            "seed": seed,
            **_bounds(way),
            "transfers": [
                {"pair": number, "side": side, "first": first, **_one(transfer)}
                for number, pair in enumerate(measured.pairs, start=1)
                for side, transfer, first in (
                    ("target", pair.target, pair.target_first),
                    ("control", pair.control, not pair.target_first),
                )
            ],
        }
    )


def of_singles(urls: Sequence[str], way: Way, measured: Singles) -> dict[str, Any]:
    """Transfers without a control: the same names, and nothing to be told by comparison."""
    shapes = [shape_of(transfer) for transfer in measured.transfers]
    only = shapes[0] if len(shapes) == 1 else None
    return _finite(
        {
            "target": urls[0] if len(urls) == 1 else None,
            "control": None,
            "differentiated": None,
            "mechanism": only.mechanism if only else None,
            "statistic": None,
            "p_value": None,
            "target_bytes_per_s": only.steady_bytes_per_s if only else None,
            "control_bytes_per_s": None,
            "pairs": 0,
            "reason": NO_CONTROL,
            "interrupted": measured.interrupted,
            "failures": list(measured.failures),
            **_bounds(way),
            "transfers": [_one(transfer) for transfer in measured.transfers],
        }
    )


def _one(transfer: Transfer | str) -> dict[str, Any]:
    if isinstance(transfer, str):
        return {"failure": transfer}
    return {
        "url": transfer.url,
        "status": transfer.status,
        "http_version": transfer.http_version,
        "address": transfer.address,
        "bytes": round(transfer.size),
        "declared_bytes": transfer.declared,
        "ended": transfer.ended,
        "lookup_s": round(transfer.lookup_s, 6),
        "connect_s": round(transfer.connect_s, 6),
        "tls_s": None if transfer.tls_s is None else round(transfer.tls_s, 6),
        "headers_s": round(transfer.headers_s, 6),
        "first_byte_s": round(transfer.first_byte_s, 6),
        "duration_s": round(transfer.duration_s, 6),
        "shape": _shape(shape_of(transfer)),
        "arrivals": [[round(at, 4), round(size)] for at, size in transfer.arrivals],
    }


def _shape(shape: Shape) -> dict[str, Any]:
    return {**asdict(shape), "mechanism": shape.mechanism}


def _bounds(way: Way) -> dict[str, Any]:
    return {
        "seconds": way.seconds,
        "bytes": way.bytes,
        "direction": "upload" if way.upload else "download",
    }


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """The same without infinities, which JSON has none of, and without false precision."""
    return {key: _plain(value) for key, value in record.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return _finite(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
