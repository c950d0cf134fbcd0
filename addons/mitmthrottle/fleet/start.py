"""How one worker starts: mitmdump, which is told before anything else to share its port.

Rule: mitmproxy asks for its sockets before it loads scripts, so this cannot be one; what can be is
in worker.py.

Called as `… NUMBER PORT alone|shared READY`, and mitmdump's own arguments: which worker it is
(from 1), what port 0 means, whether others may listen there already, and the descriptor to write a
line to.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mitmproxy import exceptions

from mitmthrottle.proxy.listen.shared_port import SharedPort
from mitmthrottle.proxy.mitm.process import run_mitmdump

SCRIPT = Path(__file__).with_name("worker.py")


def main() -> None:
    number, port, alone, ready, *arguments = sys.argv[1:]
    try:
        SharedPort(first=number == "1", alone=alone == "alone", port=int(port)).install()
    except exceptions.OptionsError as error:
        sys.exit(str(error))
    script = ["-s", str(SCRIPT), "--set", f"fleet_worker={number}", "--set", f"fleet_ready={ready}"]
    run_mitmdump([*script, *arguments])
