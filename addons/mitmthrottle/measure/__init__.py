"""Is a host slowed, by how much, and how: `mitmthrottle measure`.

Rule: a client that knows nothing of the throttle it measures, and judges by bytes and times only;
so it checks other people's throttlers as well. What is pure (`transfer`, `shape`, `comparison`,
`verdict`) has no clock and no I/O.
"""
