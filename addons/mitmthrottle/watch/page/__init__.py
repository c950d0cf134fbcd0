"""The live page: what the throttle does now, for a browser and for `mitmthrottle top`."""
