"""Under load: the store cut off from one proxy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .figures import Figures
from .store_outage import outage, under_load

pytestmark = pytest.mark.e2e

CUT_OFF_S = 30.0


def test_a_proxy_is_cut_off_from_the_store(policy: Callable[[str], Path], figures: Figures) -> None:
    with under_load(policy) as four:
        net = four.net
        assert net is not None
        net.cut_off(1)
        outage(four, figures, "cut off from one proxy for 30 s", CUT_OFF_S, lambda: net.rejoin(1))
        assert four.log().count(" is away (") == 1
