"""A proxy auto-configuration file: what the policy could slow goes through the proxy, the rest
goes straight to its origin.

Rule: a host that some rule names is never sent past the proxy; where a rule names hosts by a
regex or not at all, everything goes through it.
"""

from __future__ import annotations

import json
import re

from mitmthrottle.policy import Policy
from mitmthrottle.proxy.facts import PAGE_HOST

CA_HOST = "mitm.it"
"""mitmproxy's own page with its authority."""

_PROXY = re.compile(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]):[0-9]{1,5}", re.IGNORECASE)

# In the JavaScript of 1996, which is what every reader of such files knows.  It looks a name up
# label by label, as the policy does, so ten thousand hosts cost no more than one.
_SCRIPT = """\
// mitmthrottle, policy: {name}
// {what}
var exact = {exact};
var below = {below};
function FindProxyForURL(url, host) {{
  var through = {through};
  host = host.toLowerCase().replace(/^\\[|\\]$/g, "").replace(/\\.$/, "");
  if ({everything} || exact["." + host]) return through;
  for (var dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1))
    if (below[host.substring(dot)]) return through;
  return "DIRECT";
}}
"""


def parse_proxy(text: str) -> str:
    """`host:port`, checked: it goes into a program. ValueError with a remedy."""
    found = _PROXY.fullmatch(text.strip())
    if not found or not 0 < int(text.rpartition(":")[2]) < 65536:
        raise ValueError(f"`{text}` is no proxy: write `192.168.1.7:8080`")
    return text.strip()


def pac(policy: Policy | None, proxy: str | None) -> str:
    """The file's text. `proxy` is `host:port` as the reader sees it; None: there is no mode that
    a browser's proxy setting could use.
    """
    if proxy is None:
        through, what = "DIRECT", "the proxy runs in no mode that a proxy setting could use"
    else:
        through, what = f"PROXY {proxy}", f"what it could slow goes through {proxy}"
    exact, below, everything = {PAGE_HOST, CA_HOST}, set(), policy is None
    for rule in policy.rules if policy else ():
        patterns = policy.host_patterns(rule) if policy else None
        if patterns is None:
            everything = True
        for pattern in patterns or ():
            if pattern.kind == "regex":
                everything = True
            if pattern.kind in ("exact", "subtree"):
                exact.add(pattern.name)
            if pattern.kind in ("subtree", "subdomains"):
                below.add(pattern.name)
    if everything:
        exact, below = set(), set()
        what += "; a rule without `host`, or with a regex, can match any"
    return _SCRIPT.format(
        name=json.dumps(policy.name if policy else "none"),
        what=what,
        exact=_set(exact),
        below=_set(below),
        through=json.dumps(through),
        everything="true" if everything else "false",
    )


def _set(names: set[str]) -> str:
    """Keys with a dot before them: no host is taken for what every object has."""
    return json.dumps({f".{name}": 1 for name in sorted(names)})
