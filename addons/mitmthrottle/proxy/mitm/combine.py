"""Several addons as one script.

mitmproxy goes through all addons for each event of each flow, twice, whether they listen or not,
and anew through those that a script lists; that was half of what a response cost that no rule
concerns.  A script that has the hooks itself is one object on that way.

Rule: each gets what it would get by itself, in the same order; an error in one does not keep an
event from the next.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from mitmproxy import exceptions, hooks

Listener = Callable[..., Awaitable[None] | None]


def combine(*parts: object) -> dict[str, Callable[..., Any]]:
    """The hooks and the commands of all parts by their names, to be a script's own functions."""
    found: dict[str, Callable[..., Any]] = {}
    for hook in hooks.all_hooks:
        listeners = [getattr(part, hook) for part in parts if hasattr(part, hook)]
        if listeners:
            found[hook] = listeners[0] if len(listeners) == 1 else _tell(listeners)
    if "done" in found:
        found["done"] = _to_its_end(found["done"])
    for part in parts:
        for name, command in inspect.getmembers(type(part), lambda o: hasattr(o, "command_name")):
            found[f"command_{name}"] = command.__get__(part)
    return found


def _tell(listeners: list[Listener]) -> Listener:
    """One listener that tells all of these."""

    def tell(*args: Any) -> Awaitable[None] | None:
        errors: list[Exception] | None = None
        for listener in listeners:
            try:
                result = listener(*args)
            except (exceptions.AddonHalt, exceptions.OptionsError):
                raise  # they are meant for mitmproxy
            except Exception as error:
                errors = [*(errors or ()), error]
            else:
                if result is not None and inspect.isawaitable(result):
                    rest = listeners[listeners.index(listener) + 1 :]
                    return _go_on(result, rest, args, errors or [])
        if errors:
            _raise(errors)
        return None

    return tell


async def _go_on(
    begun: Awaitable[None], rest: list[Listener], args: tuple[Any, ...], errors: list[Exception]
) -> None:
    """What follows comes after what was begun, as among mitmproxy's own addons."""
    try:
        await begun
    except (exceptions.AddonHalt, exceptions.OptionsError):
        raise
    except Exception as error:
        errors.append(error)
    try:
        if rest and (result := _tell(rest)(*args)) is not None:
            await result
    except (exceptions.AddonHalt, exceptions.OptionsError):
        raise
    except Exception as error:
        errors.append(error)
    _raise(errors)


def _to_its_end(listener: Listener) -> Listener:
    """The same as a task, since mitmproxy waits for nobody where it loads a script anew."""

    def begin(*args: Any) -> Awaitable[None] | None:
        result = listener(*args)
        if result is None or not inspect.iscoroutine(result):
            return result
        return asyncio.get_running_loop().create_task(result)

    return begin


def _raise(errors: list[Exception]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup("several parts of mitmthrottle failed", errors)
