"""What the addon can be told on mitmproxy's command line and in its options.

Rule: each says what it costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

logger = logging.getLogger(__name__)


def declare(loader: Loader) -> None:
    """Let mitmproxy know of them."""
    with contextlib.suppress(RuntimeError):  # nothing runs: an addon by itself, in a test
        asyncio.get_running_loop().call_soon(_complain)
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


def _complain() -> None:
    """Where one of the options could not be taken mitmproxy drops them all, and the script that
    has them, without a word, and runs on.  What is logged as an error ends it at its start."""
    options = ctx.options
    if any(name in options for name in options.deferred):
        try:
            options.process_deferred()
        except exceptions.OptionsError as error:
            logger.error("mitmthrottle: %s: set each option once, to a value it has", error)
