"""The demo itself, with everything real: it must succeed, and it must be able to fail."""

import io

import pytest
from rich.console import Console

from mitmthrottle.lab.demo import demo

pytestmark = pytest.mark.e2e


def run(policy_name: str) -> tuple[bool, str]:
    output = io.StringIO()
    return demo(Console(file=output, width=140), policy_name), output.getvalue()


def test_all_is_as_the_policy_asks() -> None:
    all_well, text = run("twitter-2021")
    assert all_well, text
    assert "Slowed: 5 of 5 photos and videos of phones, 10 of 20 desktops, 0 of 8" in text


def test_another_policy_is_not_what_was_promised() -> None:
    """The substring accident slows microsoft.com, and the demo names the lines."""
    all_well, text = run("twitter-2021-collateral")
    assert not all_well
    assert "not as asked: phone 1, photo of microsoft.com: should be left alone, but" in text
