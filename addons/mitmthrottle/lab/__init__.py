"""A laboratory on loopback: real sites' names on an origin of ours, the proxy in a process
of its own, clients with addresses of their own. The demo and the tests are made of it, and
so can be the tests of whoever uses a policy.

    from mitmthrottle.lab.client import client, fetch
    from mitmthrottle.lab.origin import running_origin
    from mitmthrottle.lab.proxy import running_proxy
"""
