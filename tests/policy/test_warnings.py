"""Warnings: what surely is not meant, and nothing else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from mitmthrottle.policy import (
    find_policy,
    load_policy_with_warnings,
    parse_policy_with_warnings,
    shipped_policies,
)
from mitmthrottle.policy.language.hosts import HostPattern
from mitmthrottle.policy.language.substring_hosts import WELL_KNOWN, substring_host

NOW = datetime.fromisoformat("2026-01-01T00:00Z").timestamp()


def warnings(rule: str, more: str = "") -> list[str]:
    text = f"version: 1\nname: x\n{more}rules:\n  - {rule}\n"
    return [str(fault) for fault in parse_policy_with_warnings(text, "f.yaml", NOW)[1]]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "{when: {share: 0%}, then: {rate: 1 Mbit/s}}",
            "f.yaml:4:20: warning: a share of 0% is nobody, so this rule never matches: "
            "remove it, or give it a share",
        ),
        (
            "{when: {share: {of: responses, percent: 100}}, then: {rate: 1 Mbit/s}}",
            "f.yaml:4:20: warning: a share of 100% is everybody: leave `share` out",
        ),
        (
            "{when: {active: {until: 2021-05-17T00:00Z}}, then: {rate: 1 Mbit/s}}",
            "f.yaml:4:21: warning: this is over, so the rule never matches: remove it, or count "
            "from the policy's start as in `{after: 60 s, for: 5 min}`",
        ),
        (
            "{when: {status: 5xx}, then: {upload: {rate: 1 Mbit/s}}}",
            "f.yaml:4:34: warning: an upload is sent before there is a `status`, so this one is "
            "never paced: leave out `status`",
        ),
        (
            "{when: {status: 5xx}, then: {like: wpt/3g}}",
            "f.yaml:4:34: warning: an upload is sent before there is a `status`, so this one is "
            "never paced: put `upload` in a rule without `status`",
        ),
        (
            "then: {rate: 999 bit/s}",
            "f.yaml:4:18: warning: 999 bit/s is too slow for a connection to stay alive, clients "
            "time out: use `1 kbit/s` or more, or `block: timeout`",
        ),
        (
            "then: {rate: [1 Mbit/s, {limit: 8 bit/s, per: client}]}",
            "f.yaml:4:29: warning: 8 bit/s is too slow for a connection to stay alive, clients "
            "time out: use `1 kbit/s` or more, or `block: timeout`",
        ),
        (
            "then: {upload: {rate: 8 bit/s}}",
            "f.yaml:4:27: warning: 8 bit/s is too slow for a connection to stay alive, clients "
            "time out: use `1 kbit/s` or more, or `block: timeout`",
        ),
        (
            "then: {stages: [{for: 1 s, rate: 8 bit/s}, {pass: true}]}",
            "f.yaml:4:38: warning: 8 bit/s is too slow for a connection to stay alive, clients "
            "time out: use `1 kbit/s` or more, or `block: timeout`",
        ),
        (
            "then: {rate: 128 kbit/s, burst: 1 MB}",
            "f.yaml:4:37: warning: 1 MB is 62 s of `128 kbit/s`, and passes at full speed after "
            "each pause: `16 kB` is one second of it",
        ),
        (
            "then: {quota: {free: 16 KiB, per: connection}, rate: 8 bit/s}",
            "f.yaml:4:58: warning: 8 bit/s is too slow for a connection to stay alive, clients "
            "time out: use `1 kbit/s` or more",
        ),
        (
            "{when: {content: [photo, image/jpg]}, then: {rate: 1 Mbit/s}}",
            "f.yaml:4:30: warning: `image/jpg` is no registered type, and never matches "
            "`image/jpeg`, which is what servers send: write `image/jpeg`, or `photo`",
        ),
        (
            "{when: {content: Audio/MP3}, then: {rate: 1 Mbit/s}}",
            "f.yaml:4:22: warning: `audio/mp3` is no registered type, and never matches "
            "`audio/mpeg`, which is what servers send: write `audio/mpeg`, or `audio`",
        ),
        (
            "{when: {content: text/json}, then: {rate: 1 Mbit/s}}",
            "f.yaml:4:22: warning: `text/json` is no registered type, and never matches "
            "`application/json`, which is what servers send: write `application/json`",
        ),
        (
            "then: {rate: 80 Mbit/s, burst: 16 KiB}",
            "f.yaml:4:36: warning: 16 KiB is 1.6 ms of `80 Mbit/s`, too little to reach that "
            "rate: `1 MB` is the default, 100 ms of it",
        ),
        (
            "then: {rate: 80 Mbit/s, as: policer, burst: 16 KiB}",
            "f.yaml:4:49: warning: 16 KiB is 1.6 ms of `80 Mbit/s`, too little to reach that "
            "rate: `5 MB` is a policer's default, 500 ms of it",
        ),
        (
            "then: {stall: {after: 1 MiB, for: 1 s}, cut: {after: 512 KiB}}",
            "f.yaml:4:12: warning: the body is cut after 512 KiB, before it could stall: "
            "stall earlier, or cut later",
        ),
        (
            r"{when: {host: '~t\.co'}, then: {rate: 1 Mbit/s}}",
            r"f.yaml:4:19: warning: `~t\.co` is found in `microsoft.com` and `reddit.com` and 5 "
            "other well-known hosts too: did you mean `.t.co`, which is that name and its "
            "subdomains?",
        ),
        (
            "{when: {host: [b.com, ~cdn.example.com]}, then: {rate: 1 Mbit/s}}",
            "f.yaml:4:27: warning: in `~cdn.example.com` a `.` is any character: did you mean "
            r"`.cdn.example.com` (no regex), or `~cdn\.example\.com`?",
        ),
    ],
)
def test_what_is_doubtful(rule: str, said: str) -> None:
    assert warnings(rule) == [said]


def test_in_groups_too() -> None:
    (said,) = warnings("{when: {host: g}, then: {delay: 1 s}}", "hosts: {g: [a.com, ~x.com]}\n")
    assert said.startswith("f.yaml:3:20: warning: `~x.com` is found in ")


@pytest.mark.parametrize(
    "rule",
    [
        "then: {rate: 1 kbit/s}",
        "then: {rate: 128 kbit/s, burst: 160 kB}",
        "then: {rate: 80 Mbit/s, burst: 50 kB}",
        "then: {stall: {after: 1 MiB, for: 1 s}, cut: {after: 2 MiB}}",
        "{when: {share: 1%}, then: {rate: 1 Mbit/s}}",
        "{when: {active: [{until: 2021-05-17T00:00Z}, {days: mon}]}, then: {rate: 1 Mbit/s}}",
        "{when: {active: {until: 2027-05-17T00:00Z}}, then: {rate: 1 Mbit/s}}",
        "{when: {active: {from: 2021-05-17T00:00Z}}, then: {rate: 1 Mbit/s}}",
        "{when: {status: 5xx}, then: {rate: 1 Mbit/s}}",
        "then: {like: atc/2g-developing-rural}",
        "{when: {content: [image/jpg, image/jpeg]}, then: {rate: 1 Mbit/s}}",
        "{when: {content: [image/*, audio/mpeg]}, then: {rate: 1 Mbit/s}}",
    ],
)
def test_what_is_not(rule: str) -> None:
    assert warnings(rule) == []


def test_without_a_clock_nothing_is_past() -> None:
    text = "version: 1\nname: x\nrules:\n  - when: {active: {until: 2021-05-17T00:00Z}}\n"
    assert parse_policy_with_warnings(text + "    then: {rate: 1 Mbit/s}\n")[1] == ()


@pytest.mark.parametrize(
    "regex",
    [
        r"~\.googlevideo\.com$",
        r"~^example\.com$",
        r"~^(www\.)?twitter\.com$",
        r"~twitter\.com$",
        r"~(facebook|instagram)\.com",
        r"~google",  # no name of a host: a word, on purpose
        r"~\.com$",
        r"~^cdn[0-9]+\.",
        r"~",
    ],
)
def test_regexes_that_say_what_they_mean(regex: str) -> None:
    if regex == "~":
        with pytest.raises(ValueError, match="needs a regular expression"):
            HostPattern.parse(regex)
        return
    assert substring_host(HostPattern.parse(regex)) is None


@pytest.mark.parametrize("regex", [r"~t.co", r"~t\.co", r"~.*t\.co", r"~T\.CO.*", r"~t\.co$"])
def test_regexes_that_do_not(regex: str) -> None:
    said = substring_host(HostPattern.parse(regex))
    if regex.endswith("$"):
        assert said is None  # anchored, it is in no well-known name
    else:
        assert said is not None
        assert "did you mean `.t.co`" in said.lower()


def test_names_never_raise_doubts() -> None:
    for host in WELL_KNOWN:
        for pattern in (host, f".{host}", f"*.{host}"):
            assert substring_host(HostPattern.parse(pattern)) is None


@pytest.mark.parametrize("path", shipped_policies(), ids=lambda path: path.stem)
def test_what_ships_is_not_doubtful(path: Path) -> None:
    _, found = load_policy_with_warnings(path, NOW)
    on_purpose = path.stem in ("twitter-2021-collateral", "twitter-2021-timeline")
    assert [fault.severity for fault in found] == ["warning"] * on_purpose
    assert all("`microsoft.com` and `reddit.com`" in fault.message for fault in found)


def test_a_warning_is_no_error() -> None:
    policy, found = load_policy_with_warnings(find_policy("twitter-2021-collateral"))
    assert policy.rules
    assert str(found[0]).startswith(f"{found[0].file}:{found[0].line}:{found[0].column}: warning: ")
