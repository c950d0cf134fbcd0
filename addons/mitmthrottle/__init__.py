"""mitmthrottle for programs: slow some responses of some hosts for some clients, as a policy says.

What is in `__all__` is the public interface, described in docs/api.md; everything else is private
and changes without notice.

Rule: importing this package imports no other module of ours and no other package. A name is
imported when it is first used, so that whoever reads a policy does not wait for mitmproxy, and
needs no package of an extra.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mitmthrottle.compare.facts import CompareFailed, Comparison
    from mitmthrottle.compare.page import compare_page
    from mitmthrottle.compare.report import comparison_report
    from mitmthrottle.explanation import Explanation, explain
    from mitmthrottle.lab.origin import Origin, running_origin
    from mitmthrottle.lab.proxy import (
        ProxyDied,
        ProxyFailed,
        ProxyNotStarted,
        RunningProxy,
        Throttle,
        running_proxy,
    )
    from mitmthrottle.policy import Policy, PolicyError, Problem
    from mitmthrottle.proxy.observer import Observer
    from mitmthrottle.proxy.record import Record
    from mitmthrottle.source import PolicySource, load_policy

__all__ = [
    "CompareFailed",
    "Comparison",
    "Explanation",
    "Observer",
    "Origin",
    "Policy",
    "PolicyError",
    "PolicySource",
    "Problem",
    "ProxyDied",
    "ProxyFailed",
    "ProxyNotStarted",
    "Record",
    "RunningProxy",
    "Throttle",
    "compare_page",
    "comparison_report",
    "explain",
    "load_policy",
    "running_origin",
    "running_proxy",
]

_MODULES = {
    "compare.facts": ("CompareFailed", "Comparison"),
    "compare.page": ("compare_page",),
    "compare.report": ("comparison_report",),
    "explanation": ("Explanation", "explain"),
    "lab.origin": ("Origin", "running_origin"),
    "lab.proxy": (
        *("ProxyDied", "ProxyFailed", "ProxyNotStarted"),
        *("RunningProxy", "Throttle", "running_proxy"),
    ),
    "policy": ("Policy", "PolicyError", "Problem"),
    "proxy.record": ("Record",),
    "proxy.observer": ("Observer",),
    "source": ("PolicySource", "load_policy"),
}
"""Where each public name is. Above, the same for type checkers, which import nothing."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}
_EXTRAS = {"compare.page": "compare", "compare.report": "compare", "lab.origin": "lab"}


if not TYPE_CHECKING:  # a checker is to know every name, and no other

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        try:
            value = getattr(import_module(f"{__name__}.{home}"), name)
        except ModuleNotFoundError as missing:
            if home not in _EXTRAS:
                raise
            from mitmthrottle.extras import remedy

            raise ModuleNotFoundError(
                f"mitmthrottle.{name} needs {missing.name}: {remedy(_EXTRAS[home])}",
                name=missing.name,
            ) from missing
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
