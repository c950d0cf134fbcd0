"""Text for a terminal: whatever a client or another process has sent, and quantities.

Rule: nothing that a terminal would obey comes through.
"""

from __future__ import annotations

from mitmthrottle.policy.language.outside import printable

__all__ = ["printable", "rate"]


def rate(bytes_per_s: float | None) -> str:
    """Three digits: `128 kbit/s`; a dash where there is none."""
    if bytes_per_s is None:
        return "no limit"
    value = bytes_per_s * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} Gbit/s"
