from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle

addons = [throttle := Throttle(), *watch.addons(throttle)]
