from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.as_one import as_one

name = "mitmthrottle"
throttle = Throttle()
globals().update(as_one(throttle, *watch.addons(throttle)))
