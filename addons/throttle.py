from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.proxy_protocol import ProxyProtocol

# The client's address first: whatever follows counts by it.
addons = [ProxyProtocol(), throttle := Throttle(), *watch.addons(throttle)]
