"""One body: a response, a request's body, one way of a connection that is relayed as it is.

Rule: no mitmproxy, no event loop and no engine in here.  A body is given the little that `Runtime`
names, and whoever notices its end calls `close`.
"""
