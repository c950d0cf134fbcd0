"""The store's scripts, run by a Lua of their own against a dictionary and a clock that is told.

Rule: only what the scripts use of the server is here, and it answers as the server does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from lupa.lua51 import LuaRuntime


class LuaServer:
    """Hashes and strings without expiry; `listeners` are the channels that somebody listens on."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0
        self.hashes: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.strings: dict[str, str] = {}
        self.listeners: set[str] = set()
        self.said: list[tuple[str, str]] = []  # channel and message
        self._lua = LuaRuntime()
        self._scripts: dict[str, Callable[[Any, Any], Any]] = {}
        self._lua.globals()["redis"] = self._lua.table_from({"call": self._call})

    def run(self, name: str, keys: Sequence[str], arguments: Sequence[str]) -> list[str]:
        """The answer of a script, its items as text."""
        if name not in self._scripts:
            source = resources.files("mitmthrottle.store").joinpath(name).read_text()
            self._scripts[name] = self._lua.eval(f"function(KEYS, ARGV)\n{source}\nend")
        answer = self._scripts[name](
            self._lua.table_from(list(keys)), self._lua.table_from(list(arguments))
        )
        if isinstance(answer, str):
            return [answer]
        return [
            f"{value:.0f}" if isinstance(value, float) else str(value) for value in answer.values()
        ]

    def emptied(self) -> None:
        """It was restarted, and has kept nothing."""
        self.hashes.clear()
        self.strings.clear()

    def _call(self, command: str, *arguments: Any) -> Any:
        texts = [f"{each:.17g}" if isinstance(each, float) else str(each) for each in arguments]
        return getattr(self, f"_{command.lower()}")(*texts)

    def _time(self) -> Any:
        return self._lua.table_from([str(int(self.now_s)), str(int(self.now_s % 1 * 1_000_000))])

    def _hmget(self, key: str, *fields: str) -> Any:
        found = self.hashes.get(key, {})
        table = self._lua.table()
        for index, name in enumerate(fields, 1):
            table[index] = found.get(name, False)
        return table

    def _hgetall(self, key: str) -> Any:
        return self._lua.table_from(
            [each for pair in self.hashes.get(key, {}).items() for each in pair]
        )

    def _hset(self, key: str, *pairs: str) -> int:
        self.hashes[key].update(zip(pairs[::2], pairs[1::2], strict=True))
        return 1

    def _hdel(self, key: str, *fields: str) -> int:
        return sum(self.hashes[key].pop(name, None) is not None for name in fields)

    def _pexpire(self, key: str, milliseconds: str) -> int:
        return 1

    def _publish(self, channel: str, message: str) -> int:
        if message:
            self.said.append((channel, message))
        return int(channel in self.listeners)

    def _get(self, key: str) -> Any:
        return self.strings.get(key, False)

    def _set(self, key: str, value: str, *options: str) -> str:
        self.strings[key] = value
        return "OK"
