"""The `throttle.*` commands: rules switched and rates changed while the proxy runs.

Rule: a command that cannot be carried out says why and changes nothing.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable

from mitmproxy import exceptions

from mitmthrottle.policy import Policy, Rule
from mitmthrottle.policy.language.units import parse_duration, parse_rate

from .engine import Engine
from .overrides import Override, under, under_policy
from .snapshot import OverrideSnapshot


class Control:
    """What commands have changed over the policy file, and when that ends."""

    def __init__(self, use: Callable[[Policy], None]) -> None:
        self.policy: Policy | None = None
        self._use = use
        self._overrides: dict[str, Override] = {}
        self._reverts: dict[str, asyncio.TimerHandle] = {}
        self._lasting: dict[str, Override | None] = {}  # what each of these goes back to

    def effective(self) -> Policy:
        """The policy with what commands have changed."""
        if self.policy is None:
            raise exceptions.CommandError("no policy is loaded: set throttle_policy")
        return under_policy(self._overrides, self.policy)

    def disable(self, rule: str, revert_after: str) -> None:
        self._override(rule, Override(disabled=True), revert_after)

    def enable(self, rule: str, revert_after: str) -> None:
        self._override(rule, None, revert_after)

    def rate(self, rule: str, rate: str, revert_after: str) -> None:
        try:
            rate_bytes_per_s = parse_rate(rate)
        except ValueError as error:
            raise exceptions.CommandError(str(error)) from None
        then = self._rule(rule).then
        if not (then.rate or any(stage.rate for stage in then.stages)):
            raise exceptions.CommandError(f"`{rule}` has no rate that could be changed")
        self._override(rule, Override(rate_bytes_per_s=rate_bytes_per_s), revert_after)

    def status(self, engine: Engine | None) -> str:
        """A line a rule: what it does, what is under way, what commands have changed."""
        if self.policy is None or engine is None:
            return "no policy is in force"
        lines = [f"{self.policy.name}: {len(engine.active())} bodies under way"]
        for rule in self.policy.rules:
            busy = sum(1 for body in engine.active() if body.rule and body.rule.name == rule.name)
            lines.append(f"{rule.name}: {rule.then.describe()}; {busy} under way{self._said(rule)}")
        if (store := engine.store) is not None:
            gone = f"away ({store.away})" if store.away else "there"
            lines.append(f"shared by {store.parts.processes} proxies; the store is {gone}")
        return "\n".join(lines)

    def stop(self) -> None:
        for timer in self._reverts.values():
            timer.cancel()
        self._reverts.clear()
        self._lasting.clear()
        self._overrides.clear()

    def snapshot(self) -> dict[str, OverrideSnapshot]:
        """What commands have changed, by rule; also of those that are as the file says for a time
        only."""
        found = {}
        for rule in self._overrides.keys() | self._reverts.keys():
            override = self._overrides.get(rule)
            found[rule] = OverrideSnapshot(
                changed=override is not None,
                switched_off=override is not None and override.disabled,
                rate_bytes_per_s=override.rate_bytes_per_s if override is not None else None,
                reverts_in_s=self._reverts_in_s(rule),
            )
        return found

    def _reverts_in_s(self, rule: str) -> float | None:
        """When what a command has changed of it ends by itself; None: it stays."""
        timer = self._reverts.get(rule)
        return max(0.0, timer.when() - asyncio.get_running_loop().time()) if timer else None

    def _said(self, rule: Rule) -> str:
        override = self._overrides.get(rule.name)
        if override is None:
            return ""
        changed = under(override, rule)
        said = f"; now {changed.then.describe()}" if changed is not None else "; switched off"
        if (left_s := self._reverts_in_s(rule.name)) is not None:
            said += f" for {left_s:.0f} s more"
        return said

    def _override(self, name: str, override: Override | None, revert_after: str) -> None:
        rule = self._rule(name)
        try:
            seconds = parse_duration(revert_after) if revert_after else None
        except ValueError as error:
            raise exceptions.CommandError(str(error)) from None
        before = self._overrides.get(rule.name)
        if timer := self._reverts.pop(rule.name, None):
            timer.cancel()
            before = self._lasting.pop(rule.name)
        self._set(rule.name, override)
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._lasting[rule.name] = before
            self._reverts[rule.name] = loop.call_later(seconds, self._revert, rule.name)

    def _revert(self, name: str) -> None:
        self._reverts.pop(name, None)
        self._set(name, self._lasting.pop(name))

    def _set(self, name: str, override: Override | None) -> None:
        if override is None:
            self._overrides.pop(name, None)
        else:
            self._overrides[name] = override
        if self.policy is not None:
            self._use(self.effective())

    def _rule(self, name: str) -> Rule:
        rules = {rule.name: rule for rule in self.policy.rules} if self.policy else {}
        if name in rules:
            return rules[name]
        near = difflib.get_close_matches(name, rules, 1)
        hint = f": did you mean `{near[0]}`?" if near else f"; there are: {', '.join(rules)}"
        raise exceptions.CommandError(f"no rule is called `{name}`{hint}")
