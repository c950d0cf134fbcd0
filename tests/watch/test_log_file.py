"""The file under the log: rotated by us or by others, on a disk that fails."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mitmthrottle.watch.log import LogFile


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 1000, 2)
    file.write(b"one\n")
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"zero\n")
    LogFile(tmp_path / "log", 1000, 2).write(b"one\n")
    assert (tmp_path / "log").read_bytes() == b"zero\none\n"


def test_it_is_rotated_by_size_and_so_many_are_kept(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 10, 2)
    for number in range(8):
        file.write(b"line %d\n" % number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2"]
    assert (tmp_path / "log").read_bytes() == b"line 7\n"
    assert (tmp_path / "log.1").read_bytes() == b"line 6\n"
    assert (tmp_path / "log.2").read_bytes() == b"line 5\n"


def test_keep_0_leaves_rotating_to_others(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 10, 0)
    for _ in range(5):
        file.write(b"a line\n")
    assert (tmp_path / "log").stat().st_size == 35
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_a_file_that_others_took_away_is_made_anew(tmp_path: Path, how: str) -> None:
    path = tmp_path / "log"
    file = LogFile(path, 1000, 2)
    file.write(b"one\n")
    if how == "moved":
        path.rename(tmp_path / "log-20210310")
    else:
        path.unlink()
    file.write(b"two\n")
    assert path.read_bytes() == b"two\n"


def test_a_folder_that_vanished_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = LogFile(folder / "log", 1000, 2)
    file.write(b"one\n")
    (folder / "log").unlink()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        file.write(b"two\n")
    folder.mkdir()
    file.write(b"three\n")
    assert (folder / "log").read_bytes() == b"three\n"


def test_half_a_write_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LogFile(tmp_path / "log", 1000, 2)
    file.write(b"one\n")
    write = os.write
    room = [3]

    def almost_full(number: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(number, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", almost_full)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"two\n")
    monkeypatch.undo()
    file.write(b"three\n")
    assert (tmp_path / "log").read_bytes() == b"one\nthree\n"


def test_a_file_that_cannot_be_put_aside_grows_on(tmp_path: Path) -> None:
    (tmp_path / "log.1").mkdir()
    (tmp_path / "log.1" / "in the way").touch()
    file = LogFile(tmp_path / "log", 10, 1)
    file.write(b"line 1\n")
    assert file.rotation_error is None
    file.write(b"line 2\n")
    assert (tmp_path / "log").read_bytes() == b"line 1\nline 2\n"
    assert file.rotation_error is not None


def test_a_pipe_that_nobody_reads_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        LogFile(tmp_path / "pipe", 10, 0).write(b"one\n")
