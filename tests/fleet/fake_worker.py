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
number, _, alone, ready, *options = sys.argv[2:]
with (folder / "starts").open("a") as starts:
    starts.write(f"{number} {os.getpid()} {alone}\n")
task = (folder / number).read_text() if (folder / number).exists() else ""
if task == "fail":
    print("no", flush=True)
    sys.exit(3)
if task == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, lambda *_: print("busy with nothing", flush=True))
facts = {"listen": [["127.0.0.1", 8080]], "page": ""}
os.write(int(ready), f"{json.dumps(facts)}\n".encode())
os.close(int(ready))
print(*options, flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    time.sleep(0.05)
