"""What is replaced or wrapped of mitmproxy: its streams and relays, readers and windows."""
