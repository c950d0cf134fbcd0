from mitmthrottle.proxy.addon import Throttle

addons = [Throttle()]
