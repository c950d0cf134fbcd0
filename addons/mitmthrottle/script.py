"""The script that mitmdump loads: `mitmdump -s <this file>`; the clone's addons/throttle.py
is its twin. Rule: nothing but the list of addons, so that mitmproxy may load it again.
"""

from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.proxy_protocol import ProxyProtocol

# The client's address first: whatever follows counts by it.
addons = [ProxyProtocol(), throttle := Throttle(), *watch.addons(throttle)]
