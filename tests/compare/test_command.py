"""What is wrong is said in a sentence, before anything is started where that is possible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mitmthrottle.cli import main
from mitmthrottle.compare import series
from mitmthrottle.compare.chromium import PROFILES
from mitmthrottle.lab.chromium import NAMES, NoChromium, find_chromium, key_hash
from mitmthrottle.policy.detect.devices import device_of_user_agent

PAGE = "https://www.example.org/"


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a proxy was started")

    monkeypatch.setattr(series, "running_proxy", refuse)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["www.example.org"], 1, "Error: `www.example.org` is no page's address: write https://"),
        (["https://[/"], 1, "is no page's address"),
        (["file:///etc/passwd"], 1, "is no page's address"),
        ([PAGE, "--output", "missing/report.html"], 1, "there is no folder missing"),
        ([PAGE, "--output", "."], 1, "is a folder: name a file in it"),
        ([PAGE, "--chromium", "nowhere"], 1, "nowhere is no program that can be run"),
        ([PAGE, "--resolve", "a.b"], 2, "`a.b` is not HOST[:PORT]=ADDRESS[:PORT]"),
        ([PAGE, "--cacert", "missing.pem"], 2, "missing.pem"),
        ([PAGE, "--runs", "0"], 2, "--runs"),
        ([PAGE, "--device", "toaster"], 2, "toaster"),
        ([PAGE, "--policy", "twiter-2021"], 1, "did you mean `twitter-2021`"),
        ([PAGE, "--policy", "missing.yaml"], 1, "missing.yaml:"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--policy" not in arguments:
        arguments = [*arguments, "--policy", "twitter-2021"]
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == status, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_broken_policy_is_told_with_its_places(tmp_path: Path) -> None:
    policy = tmp_path / "broken.yaml"
    policy.write_text(
        "version: 1\nname: a\nrules:\n  - when: {hots: .a.com}\n    then: {rate: 5}\n"
    )
    result = CliRunner().invoke(main, ["compare", PAGE, "--policy", str(policy)])
    assert result.exit_code == 1
    assert f"{policy}:4:" in result.output
    assert f"{policy}:5:" in result.output


def test_without_chromium_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", "/nonexistent")
    with pytest.raises(NoChromium, match="apt-get install chromium"):
        find_chromium(None)


def test_without_its_extra_it_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['playwright'] = None\n"
        f"from mitmthrottle.cli import main; main(['compare', '{PAGE}', '--policy', 'full-ban'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    root = Path(__file__).parents[2]
    assert done.stderr.startswith(
        f"Error: compare needs playwright: {sys.executable} -m pip install"
    )
    assert done.stderr.endswith(f" -e '{root}[compare]'\n")


def test_a_browser_is_found_under_each_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in reversed(NAMES):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert find_chromium(None) == tmp_path / name


def test_the_devices_are_what_policies_take_them_for() -> None:
    assert device_of_user_agent(PROFILES["phone"].user_agent("140.0.1.2")) == "mobile"
    assert device_of_user_agent(PROFILES["desktop"].user_agent("140.0.1.2")) == "desktop"


def test_with_and_without_take_turns_in_going_first() -> None:
    assert [variant for variant, _ in series.order(3)] == [
        "without", "with", "with", "without", "without", "with",
    ]  # fmt: skip


def test_the_key_of_an_authority_is_hashed_as_browsers_want_it(tmp_path: Path) -> None:
    """The figure is openssl's: x509 -pubkey | pkey -pubin -outform der | dgst -sha256 -binary."""
    pem = tmp_path / "ca.pem"
    pem.write_text(AUTHORITY)
    assert key_hash(pem) == AUTHORITY_HASH


AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBejCCAR+gAwIBAgIULCXJLKg3wSF9s74ByIsJ8qhVEA4wCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGYSB0ZXN0MCAXDTI2MTEyNTE0MzEwMFoYDzIxMjYxMTAxMTQz
MTAwWjARMQ8wDQYDVQQDDAZhIHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARmTd7OFUsOOkcdJ0xiR929i5xn+lJlXv6dv8cJeS2idUKzLwzhTV8aY26itIIn
IVDHsRvwXZHGn0q0vrBF4PXzo1MwUTAdBgNVHQ4EFgQUzZIuUUQR7dJzsPHXT98/
sdkvJ+UwHwYDVR0jBBgwFoAUzZIuUUQR7dJzsPHXT98/sdkvJ+UwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA1Rtq1AAVXbtFdMJzZtnNnGeUMvcR
Ev0afvLKOemj5IYCIQDQpVPpUHvdOWn1r+UZQRX5tGh8WKAI00YYvllYEmJotQ==
-----END CERTIFICATE-----
"""
AUTHORITY_HASH = "vwtFG/ZFBGQRVsPXyiVBlTGifngOz3rqh+kBf0ZszT0="
