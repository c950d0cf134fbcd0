"""What comes with mitmthrottle: policies, and presets of known tools."""
