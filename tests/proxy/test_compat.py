from __future__ import annotations

import pytest
from mitmproxy import exceptions, version
from mitmproxy.proxy import server

from mitmthrottle.proxy.mitm import compat


def test_this_mitmproxy_is_as_we_know_it() -> None:
    """Fails loudly when mitmproxy changes: read its new source before touching compat.py."""
    assert compat.differences() == []


def test_another_release_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "VERSION", "13.0.0")
    with pytest.raises(exceptions.OptionsError, match=r"mitmproxy 13\.0\.0.*pip install"):
        compat.require_known_mitmproxy()


def test_a_changed_function_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def server_event(self: object, event: object, urgent: bool) -> None: ...

    expected = {"ConnectionHandler.server_event": (server_event, ("self", "event"))}
    monkeypatch.setattr(compat, "EXPECTED", expected)
    with pytest.raises(exceptions.OptionsError, match="server_event takes"):
        compat.require_known_mitmproxy()


def test_a_name_that_is_no_longer_used_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    used = ((server.ConnectionHandler.handle_connection, "await reader.read_some("),)
    monkeypatch.setattr(compat, "USED_IN_SOURCE", used)
    assert "no longer contains `await reader.read_some(`" in compat.differences()[0]
