"""From text to values: quantities, hosts, patterns, moments, and YAML that knows its lines."""
