"""What the command line says of workers, and how often what ends is started again."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mitmthrottle import fleet
from mitmthrottle.cli import main
from mitmthrottle.fleet import supervisor
from mitmthrottle.fleet.arguments import settings, take_workers, without
from mitmthrottle.fleet.backoff import FIRST_S, LONGEST_S, STEADY_S, Backoff
from mitmthrottle.fleet.worker import page_address


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (None, [])),
        (["--workers", "2"], (2, [])),
        (["--workers=3", "-p", "8080"], (3, ["-p", "8080"])),
        (["-p", "8080", "--workers", "2", "-s", "a.py"], (2, ["-p", "8080", "-s", "a.py"])),
        (["--workers-are-nice", "1"], (None, ["--workers-are-nice", "1"])),
    ],
)
def test_workers_among_mitmdumps_options(
    arguments: list[str], expected: tuple[int | None, list[str]]
) -> None:
    assert take_workers(arguments) == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "", "65", "1.5", "٢"])
def test_no_number_of_workers(value: str) -> None:
    for arguments in (["run", "twitter-2021", "--workers", value],
                      ["run", f"--workers={value}", "twitter-2021"]):  # fmt: skip
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert f"`{value}` is no number of workers: write --workers 2" in result.stderr


def test_what_is_set() -> None:
    arguments = ["--set", "a=1", "-p", "1", "--set=b=2", "b=3", "--set", "a=", "--set"]
    assert settings(arguments, "a") == ["1", ""]
    assert settings(arguments, "b") == ["2"]
    assert settings(arguments, "c") == []
    assert without(arguments, "a") == ["-p", "1", "--set=b=2", "b=3", "--set"]
    assert without(arguments, "c") == arguments


def test_without_a_store_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "find_server", lambda: None)
    result = CliRunner().invoke(main, ["run", "twitter-2021", "--workers", "2"])
    assert result.exit_code == 1
    assert "apt-get install valkey-server" in result.stderr
    assert "--set throttle_store=valkey://HOST:6379" in result.stderr


def test_elsewhere_than_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.sys, "platform", "darwin")
    with pytest.raises(fleet.NotStarted, match="needs Linux"):
        fleet.run_workers([], 2)


def test_waits_grow_and_are_forgotten() -> None:
    backoff = Backoff()
    waits = [backoff.after(0.1) for _ in range(12)]
    assert waits[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert waits[-1] == LONGEST_S
    assert backoff.after(STEADY_S) == FIRST_S


@pytest.mark.parametrize(
    ("first", "third"),
    [
        ("127.0.0.1:8089", "127.0.0.1:8091"),
        ("[::1]:8089", "[::1]:8091"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("", ""),
        ("127.0.0.1:65535", "127.0.0.1:65535"),
        ("nonsense", "nonsense"),
    ],
)
def test_where_a_workers_page_is(first: str, third: str) -> None:
    assert page_address(first, 1) == first
    assert page_address(first, 3) == third
