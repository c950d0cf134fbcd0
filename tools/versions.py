"""Which versions mitmthrottle says that it works with, read from pyproject.toml.

    python tools/versions.py --pythons            3.12 3.13 3.14
    python tools/versions.py --oldest-mitmproxy   12.2.1

Rule: pyproject.toml is the one place that says it; .ci/run tries what it says.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def pythons() -> list[str]:
    """Those of the classifiers."""
    found = (
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each)
        for each in PROJECT["classifiers"]
    )
    return [each[1] for each in found if each]


def mitmproxy_bounds() -> tuple[str, str]:
    """The oldest version that is taken, and the first that is not."""
    (found,) = (
        bounds
        for each in PROJECT["dependencies"]
        if (bounds := re.fullmatch(r"mitmproxy>=([0-9.]+),<([0-9.]+)", each))
    )
    return found[1], found[2]


if __name__ == "__main__":
    print(*(pythons() if "--pythons" in sys.argv else mitmproxy_bounds()[:1]))
