"""A page with and without a policy, in a real browser: what the policy does to who looks at it.

Rule: only the policy differs between the runs, and the report says no more than was measured.
"""
