"""What all tests share: a property that is slow on a busy machine is not a wrong one."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
