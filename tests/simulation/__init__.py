"""The whole proxy in one process, deterministically: no sockets, no waiting, a seed for everything.

`python -m tests.simulation --help` runs it; each module says what it is for.
"""
