"""Stands in for mitmdump: says that it is ready and does nothing, or what a file tells it to.

`FOLDER/N` holds what worker N does: `fail` ends it before it is ready, `stubborn` does not hear
SIGTERM.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
options = dict(
    value.split("=", 1)
    for before, value in zip(sys.argv, sys.argv[1:], strict=False)
    if before == "--set"
)
number = options["fleet_worker"]
with (folder / "starts").open("a") as starts:
    starts.write(f"{number} {os.getpid()} {options.get('fleet_alone', 'false')}\n")
task = (folder / number).read_text() if (folder / number).exists() else ""
if task == "fail":
    print("no", flush=True)
    sys.exit(3)
if task == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, lambda *_: print("busy with nothing", flush=True))
facts = {"listen": [["127.0.0.1", 8080]], "page": ""}
os.write(int(options["fleet_ready"]), f"{json.dumps(facts)}\n".encode())
os.close(int(options["fleet_ready"]))
print(f"store {options['throttle_store']}", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    time.sleep(0.05)
