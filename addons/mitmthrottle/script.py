"""The script that mitmdump loads: `mitmdump -s <this file>`; the clone's addons/throttle.py
is its twin. Rule: nothing but the addons, so that mitmproxy may load it again.
"""

from mitmthrottle import watch
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.as_one import as_one

name = "mitmthrottle"
throttle = Throttle()
globals().update(as_one(throttle, *watch.addons(throttle)))
