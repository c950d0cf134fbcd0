"""What the addon can be told on mitmproxy's command line and in its options, and what becomes of
an option that cannot be taken.

Rule: each says what it costs.  What cannot be taken is a sentence: an error in the log while
mitmproxy starts, which ends mitmdump, mitmweb and mitmproxy with status 1; an OptionsError later,
which their editors show.

mitmproxy knows a script's options only once it has loaded the script.  By itself it then drops all
that were given if one of them cannot be parsed, does not look at `choices`, keeps names that
nobody declares without a word, and prints what a script's `configure` raises with its traceback.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from mitmthrottle.policy.language.units import did_you_mean
from mitmthrottle.proxy.bodies.held import DEFAULT_MOST_HELD

logger = logging.getLogger(__name__)

PREFIX = "throttle_"

Hooks = dict[str, Callable[..., Any]]


def checked(hooks: Hooks) -> Hooks:
    """A script's hooks; `load`, `configure` and `running` keep the rule above for its options."""
    checks = _Checks(hooks["load"], hooks["configure"], hooks["running"])
    return {
        **hooks,
        "load": checks.load,
        "configure": checks.configure,
        "running": checks.running,
    }


class _Checks:
    """Stands before the script's own `load`, `configure` and `running`."""

    def __init__(
        self,
        load: Callable[[Loader], None],
        configure: Callable[[set[str]], None],
        running: Callable[[], Any],
    ) -> None:
        self._load = load
        self._configure = configure
        self._running = running
        self._starting = True
        self._said: set[str] = set()

    def load(self, loader: Loader) -> None:
        _write_lines()
        before = set(ctx.options.keys())
        self._load(loader)
        ours = sorted(set(ctx.options.keys()) - before)
        for name in ours:
            self._take(name)
        for name in ctx.options.deferred:
            if name not in ctx.options and (fault := _unknown(name, ours)):
                self._say(fault)

    def configure(self, updated: set[str]) -> None:
        try:
            _check_choices(updated)
            self._configure(updated)
        except exceptions.OptionsError as error:
            if not self._starting:
                raise
            self._say(str(error))

    def running(self) -> Any:
        self._starting = False
        return self._running()

    def _take(self, name: str) -> None:
        """What was given for this option before there was a script that has it."""
        options = ctx.options
        if name not in options.deferred:
            return
        given = options.deferred.pop(name)
        try:
            # From the command line: the texts after each `name=`; from config.yaml: a value.
            texts = getattr(given, "val", None)
            if texts is None:
                options.update(**{name: given})
            else:
                options.set(*([f"{name}={text}" for text in texts] or [name]))
        except exceptions.OptionsError as error:
            self._say(f"{error}: set {name} once, to a value it has")
        except TypeError:
            like = options.default(name)
            self._say(f"{name}: {given!r} in config.yaml is of another type than {like!r}")

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            logger.error("mitmthrottle: %s", sentence)


def _check_choices(updated: set[str]) -> None:
    for name, option in ctx.options.items():
        if name in updated and name.startswith(PREFIX) and option.choices:
            value = option.current()
            if value not in option.choices:
                listed = " or ".join(f"`{choice}`" for choice in option.choices)
                near = did_you_mean(value, list(option.choices))
                raise exceptions.OptionsError(
                    f"{name}: `{value}` is none of its values{near or ':'} it takes {listed}"
                )


def _unknown(name: str, ours: Sequence[str]) -> str:
    """What to say of an option that nobody has declared, if it was surely meant for us."""
    near = did_you_mean(name.replace("-", "_"), [each for each in ours if PREFIX in each])
    if not near and not name.startswith(PREFIX):
        return ""  # of another script, to be loaded after this one
    return f"there is no option {name}{near or ': `mitmdump --options -s SCRIPT` lists them'}"


def _write_lines() -> None:
    """Whoever reads our output, through a pipe or in a file, waits for lines and not for 8 KiB."""
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(line_buffering=True)


def declare(loader: Loader) -> None:
    """Let mitmproxy know of them."""
    loader.add_option(
        "throttle_policy",
        str,
        "",
        "Policy file that says which responses are slowed, for whom and how; or the name of "
        "a policy that ships with mitmthrottle. The file is watched: a new version takes "
        "over within a second, a broken one is reported and ignored.",
    )

    loader.add_option(
        "throttle_commands",
        Sequence[str],
        [],
        "`throttle.*` commands to carry out at the start and whenever this is set, for where "
        'there is no command line: throttle.rate "large photos" "64 kbit/s" "10 min".',
    )
    loader.add_option(
        "throttle_pinned",
        str,
        "intercept",
        "What to do with a client that rejects our certificate for a host: `intercept` goes "
        "on trying; `passthrough` lets its next tries through untouched, slowed by the "
        "server's name only. Costs: what such a client sends can no longer be looked into.",
        choices=("intercept", "passthrough"),
    )
    loader.add_option(
        "throttle_quic",
        str,
        "pass",
        "HTTP/3: `pass` leaves it to mitmproxy, which can slow it but not hold back its "
        "origin; `block` refuses it, so that browsers fall back to TCP. Costs: the time of "
        "that fall-back, at a browser's first visit.",
        choices=("pass", "block"),
    )

    loader.add_option(
        "throttle_server_timing",
        bool,
        False,
        "Say in a `Server-Timing` header of slowed responses which rule holds, how long they "
        "were held and what rate they get; developer tools show it. Costs: whoever fetches "
        "learns that there is a throttle, and the rule's name.",
    )

    loader.add_option(
        "throttle_most_held",
        int,
        DEFAULT_MOST_HELD,
        "How many responses, uploads and connections may be held before their start, by `delay`, "
        "`requests` and `block: timeout`; when half of that is taken, a quarter for one client; 0 "
        "for no bound. What there is no place for passes at once, and is counted. Each costs some "
        "100 KiB.",
    )

    loader.add_option(
        "throttle_store",
        str,
        "",
        "Valkey or Redis server through which several proxies share rates, `requests`, `quota` "
        "and the start of `stages`: valkey://HOST:6379, valkeys://HOST:6379 (TLS), "
        "unix:///PATH. Its password: MITMTHROTTLE_STORE_PASSWORD or _PASSWORD_FILE in the "
        "environment. Costs: some five short calls a second for each budget in use; no "
        "response waits for them.",
    )
    loader.add_option(
        "throttle_store_down",
        str,
        "split",
        "While that server is away: `split` lets each proxy go on with its last part, `open` "
        "does not limit what is shared, `block` answers new responses that would share "
        "something with 503.",
        choices=("split", "open", "block"),
    )
