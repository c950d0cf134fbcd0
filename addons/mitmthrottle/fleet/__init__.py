"""Several proxies behind one listening address: `mitmthrottle run POLICY --workers N`.

Rule: nothing here knows HTTP or policies. It starts programs, sees to it that they run, and ends
them; the kernel spreads the connections, and a Valkey or Redis server holds what is shared.
"""

from mitmthrottle.fleet.arguments import parse_workers, settings, take_workers
from mitmthrottle.fleet.supervisor import NotStarted, run_workers

__all__ = ["NotStarted", "parse_workers", "run_workers", "settings", "take_workers"]
