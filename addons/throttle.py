from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.as_one import as_one
from mitmthrottle.proxy.destinations import Destinations
from mitmthrottle.proxy.options import checked
from mitmthrottle.proxy.pauses import ShortPauses
from mitmthrottle.proxy.proxy_protocol import ProxyProtocol
from mitmthrottle.proxy.service_manager import ServiceManager

name = "mitmthrottle"
throttle = Throttle()
# The client's address first: whatever follows counts by it.
globals().update(
    checked(
        as_one(
            ProxyProtocol(),
            Destinations(throttle),
            throttle,
            *watch.addons(throttle),
            ShortPauses(),
            ServiceManager(),
        )
    )
)
