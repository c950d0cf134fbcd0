"""Where the store is: `throttle_store=valkey://store.example:6379/0`.

Rule: the password is never part of it. It comes from the environment or from a file, and is in no
repr and no message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PASSWORD = "MITMTHROTTLE_STORE_PASSWORD"
PASSWORD_FILE = "MITMTHROTTLE_STORE_PASSWORD_FILE"
_EXAMPLES = "write valkey://HOST:6379, valkeys://HOST:6379 (TLS) or unix:///PATH"
_TCP = {"valkey": False, "redis": False, "valkeys": True, "rediss": True}
_QUERIES = {"tls": ("ca", "cert", "key"), "unix": ("db",), "tcp": ()}


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and how to speak to it. `path`: a Unix socket; else TCP to `host` and `port`."""

    host: str = ""
    port: int = 6379
    path: str = ""
    database: int = 0
    tls: bool = False
    ca: str | None = None  # PEM files; None: the system's authorities, no certificate of ours
    cert: str | None = None
    key: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'valkeys' if self.tls else 'valkey'}://{host}:{self.port}"

    @classmethod
    def parse(cls, url: str, environ: Mapping[str, str]) -> Address:
        """ValueError, with a remedy, for what is no address of a store."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"`{_without_password(url)}`: {error}: {_EXAMPLES}") from None
        if parts.password is not None:
            raise ValueError(
                "a password in the address would be seen in the list of processes: "
                f"put it into {PASSWORD}, or its file's name into {PASSWORD_FILE}"
            )
        kind = "unix" if parts.scheme == "unix" else "tls" if _TCP.get(parts.scheme) else "tcp"
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if unknown := sorted(set(query) - set(_QUERIES[kind])):
            known = ", ".join(_QUERIES[kind]) or "none"
            raise ValueError(f"`{url}`: `{unknown[0]}` is not known here (known: {known})")
        username = unquote(parts.username) if parts.username else None
        password = _password(environ)
        if kind == "unix":
            if parts.hostname or len(parts.path) < 2:
                raise ValueError(f"`{url}`: a socket needs its whole path: unix:///run/valkey.sock")
            return cls(
                path=unquote(parts.path),
                database=_database(query.get("db", "0"), url),
                username=username,
                password=password,
            )
        if parts.scheme not in _TCP or not parts.hostname:
            raise ValueError(f"`{url}` is no address of a store: {_EXAMPLES}")
        return cls(
            host=parts.hostname,
            port=port or 6379,
            database=_database(parts.path.strip("/") or "0", url),
            tls=kind == "tls",
            ca=_file(query, "ca"),
            cert=_file(query, "cert"),
            key=_file(query, "key"),
            username=username,
            password=password,
        )


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _database(text: str, url: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"`{url}`: `{text}` is no number of a database: write /0")
    return int(text)


def _file(query: Mapping[str, str], name: str) -> str | None:
    path = query.get(name)
    if path is not None and not Path(path).is_file():
        raise ValueError(f"`{name}={path}`: there is no such file")
    return path


def _password(environ: Mapping[str, str]) -> str | None:
    if name := environ.get(PASSWORD_FILE):
        try:
            return Path(name).read_text().strip() or None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ValueError(f"{PASSWORD_FILE}: `{name}` cannot be read: {reason}") from None
    return environ.get(PASSWORD) or None
