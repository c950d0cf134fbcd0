"""The only place that imports mitmproxy: from its flows to our facts, from our decisions to its
streams."""
