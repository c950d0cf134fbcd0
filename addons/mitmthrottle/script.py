"""The script that mitmdump loads: `mitmdump -s <this file>`; the clone's addons/throttle.py
is its twin. Rule: nothing but the addons, so that mitmproxy may load it again.
"""

from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.control.options import checked
from mitmthrottle.proxy.control.service_manager import ServiceManager
from mitmthrottle.proxy.listen.destinations import Destinations
from mitmthrottle.proxy.listen.proxy_protocol import ProxyProtocol
from mitmthrottle.proxy.mitm.combine import combine
from mitmthrottle.proxy.mitm.gc_freeze import FreezeGarbage

name = "mitmthrottle"
throttle = Throttle()
# The client's address first: whatever follows counts by it.
globals().update(
    checked(
        combine(
            ProxyProtocol(),
            Destinations(throttle),
            throttle,
            *watch.addons(throttle),
            FreezeGarbage(),
            ServiceManager(),
        )
    )
)
