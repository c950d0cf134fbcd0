"""What all tests share: a property that is slow on a busy machine is not a wrong one."""

from __future__ import annotations

from hypothesis import settings

# What holds otherwise, as in CI, goes on holding.
_chosen = settings.get_profile(settings.get_current_profile_name())
settings.register_profile("busy machine", _chosen, deadline=None)
settings.load_profile("busy machine")
