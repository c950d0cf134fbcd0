"""Does the proxy answer? What the image's HEALTHCHECK runs.

Rule: it asks as a client would, through the proxy's own port, so that a proxy that accepts
connections but does nothing with them counts as ill. Exit status 0 or 1.

`PROXY_PORT` says which port (8080 by default); `HEALTH_URL` asks that URL directly instead,
for modes in which nothing can be asked through the proxy.
"""

from __future__ import annotations

import os
import sys
import urllib.request

PAGE = "http://throttle.proxy/healthz"
TIMEOUT_S = 4.0

direct = os.environ.get("HEALTH_URL")
proxy = f"http://127.0.0.1:{os.environ.get('PROXY_PORT', '8080')}"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if direct else {"http": proxy}))
try:
    with opener.open(direct or PAGE, timeout=TIMEOUT_S) as answer:
        healthy = answer.status == 200
except OSError as error:
    print(f"the proxy does not answer: {error}")
    healthy = False
sys.exit(0 if healthy else 1)
