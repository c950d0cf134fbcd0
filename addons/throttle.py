from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.as_one import AsOne

throttle = Throttle()
addons = [AsOne(throttle, *watch.addons(throttle))]
