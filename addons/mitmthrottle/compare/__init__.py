"""A page with and without a policy, in a real browser: what the policy does to who looks at it.

Rule: only the policy differs between the runs, and the report says no more than was measured.

    comparison = compare(Plan("https://www.example.org/", find_policy("twitter-2021")), watcher)
    Path("report.html").write_text(report(comparison))
"""
