"""The list of listeners: of this process and of others, and what is left of one that was killed."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from mitmthrottle.proxy.listen import listeners as module
from mitmthrottle.proxy.listen.listeners import Listeners

OTHER = """
import sys
from pathlib import Path
from mitmthrottle.proxy.listen.listeners import Listeners
Listeners(Path(sys.argv[1])).open("page", 8089)
print("open", flush=True)
sys.stdin.read()
"""


def test_another_process_is_seen_until_it_is_gone(tmp_path: Path) -> None:
    known = Listeners(tmp_path)
    known.open("proxy", 8080)
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        assert known.kinds(8089) == {"page"}
        assert known.kinds(808) == set()
        assert known.kinds(8080) == {"proxy"}
        other.kill()
    assert known.kinds(8089) == set()
    assert len(list(tmp_path.iterdir())) == 1  # what it has left behind is gone


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_SHARED_MEMORY", tmp_path)
    known = Listeners()
    known.open("proxy", 8080)
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    other = Listeners()
    with caplog.at_level(logging.WARNING):
        listening = other.open("page", 8089)
    assert "is not this user's alone" in caplog.text
    assert other.kinds(8089) == {"page"}  # it knows its own
    assert known.kinds(8089) == set()
    listening.close()
    assert other.kinds(8089) == set()


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    known = Listeners(tmp_path)
    first = known.open("page", 8089)
    first.close()
    second = known.open("page", 8089)
    first.close()
    assert known.kinds(8089) == {"page"}
    second.close()
    assert list(tmp_path.iterdir()) == []
