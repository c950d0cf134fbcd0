"""The `when` of a rule: the conditions, as values.

The one rule: every condition given must hold, and a list means any of. None means that the
condition was not given. The conditions are those of the table in conditions/, one a file.
"""

from __future__ import annotations

from mitmthrottle.policy.conditions import mapping_of_conditions


class When(mapping_of_conditions()):  # type: ignore[misc]  # made of the table of conditions
    """All conditions of a rule; a rule with none matches everything."""
