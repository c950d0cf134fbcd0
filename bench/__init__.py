"""mitmthrottle side by side with the programs that one would take instead.

Rule: what is compared in one row is measured with the same client, the same file and origin, in
the same run.  Each bench is a command (`python -m bench.accuracy`), ends by itself, and stops by
their ids the programs that it has started; `python -m bench` runs them all.
"""
