"""The command line, as a user meets it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mitmthrottle.cli import main

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
POLICY = """\
version: 1
name: test
rules:
  - name: big videos
    when: {host: .example.org, content: video, size: ">= 100 KiB"}
    then:
      rate: [128 kbit/s, {limit: 2 Mbit/s, per: client}]
      burst: 16 KiB
      delay: {mean: 300 ms, jitter: 80 ms}
  - name: russian pages
    when: {host: .example.org, header: {Accept-Language: "ru*"}}
    then: {block: 451}
  - name: the rest of it
    when: {host: .example.org, method: POST}
    then: {pass: true}
"""


def call(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    # Whatever the user does, the answer is a sentence.
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.yaml"
    path.write_text(
        "version: 1\nname: broken\nrules:\n  - when: {hots: example.org}\n    then: {rate: 128}\n"
    )
    return path


# check


def test_check_of_good_policies(policy: Path) -> None:
    result = call("check", policy, "twitter-2021")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{policy}: ok, 3 rules", "twitter-2021: ok, 2 rules"]


def test_check_tells_all_faults_with_their_places(policy: Path, broken: Path) -> None:
    result = call("check", broken, policy)
    assert result.exit_code == 1
    faults = result.stderr.splitlines()
    assert [fault.split(": ")[0] for fault in faults] == [f"{broken}:4:12", f"{broken}:5:18"]
    assert "did you mean `host`" in faults[0]
    assert "128 kbit/s" in faults[1]
    # The good one is told of all the same.
    assert result.stdout == f"{policy}: ok, 3 rules\n"


def test_check_warns_and_is_content(tmp_path: Path) -> None:
    path = tmp_path / "doubtful.yaml"
    path.write_text(
        "version: 1\nname: doubtful\nrules:\n"
        "  - {when: {active: {until: 2021-05-17T00:00Z}}, then: {rate: 1 Mbit/s}}\n"
    )
    result = call("check", path, "twitter-2021-collateral")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{path}: ok, 1 rule",
        "twitter-2021-collateral: ok, 3 rules",
    ]
    over, accident = result.stderr.splitlines()
    assert over.startswith(f"{path}:4:21: warning: this is over, so the rule never matches")
    assert "twitter-2021-collateral.yaml:19:18: warning: " in accident


@pytest.mark.parametrize("command", [["check"], ["explain"], ["run"]])
@pytest.mark.parametrize("name", ["nowhere.yaml", "twiter-2021"])
def test_a_policy_that_is_not_there(command: list[str], name: str) -> None:
    url = ["https://example.org"] if command == ["explain"] else []
    result = call(*command, name, *url)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert name in result.stderr


def test_check_needs_a_policy() -> None:
    assert call("check").exit_code == 2


# explain


ENCRYPTED = "the payload is encrypted, so it cannot be read"


def explain(*arguments: str | Path) -> dict[str, object]:
    result = call("explain", *arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def test_explain_in_json_has_si_units(policy: Path) -> None:
    url = "https://video.example.org/a.mp4"
    answer = explain(policy, url, "--content-type", "video/mp4", "--size", "100 KiB")
    assert answer["rule"] == "big videos"
    assert answer["line"] == 4
    assert answer["content"] == "video"
    effects = answer["effects"]
    assert isinstance(effects, dict)
    assert effects["rate"] == [
        {"rate_bytes_per_s": 16000.0, "per": "response"},
        {"rate_bytes_per_s": 250000.0, "per": "client"},
    ]
    assert effects["burst_bytes"] == 16384
    assert effects["delay"] == {"mean_s": 0.3, "jitter_s": 0.08, "distribution": "normal"}
    assert not {"block", "pass"} & effects.keys()


def test_explain_in_json_of_no_match(policy: Path) -> None:
    answer = explain(policy, "https://example.com/")
    assert answer["rule"] is None
    assert answer["effects"] is None
    why_not = answer["why_not"]
    assert isinstance(why_not, list)
    assert [(why["rule"], why["condition"]) for why in why_not] == [
        ("big videos", "host"),
        ("russian pages", "host"),
        ("the rest of it", "host"),
    ]
    assert all(why["reason"] for why in why_not)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--size", "99 KiB", "--content-type", "video/mp4"], None),
        (["--header", "Accept-Language: ru-RU"], "russian pages"),
        (["--header", "X-Other: 1", "--header", "accept-language:ru"], "russian pages"),
        (["--method", "post"], "the rest of it"),
        ([], None),
    ],
)
def test_explain_takes_the_facts(policy: Path, arguments: list[str], rule: str | None) -> None:
    assert explain(policy, "https://example.org/", *arguments)["rule"] == rule


def test_explain_of_the_shipped_policy() -> None:
    url = "https://pbs.twimg.com/photo.jpg"
    phone = explain("twitter-2021", url, "--user-agent", IPHONE, "--client-ip", "10.0.0.1")
    assert phone["rule"] == "photos and videos on every phone"
    # The substring accident of March 2021 is not in this policy.
    other = explain("twitter-2021", "https://microsoft.com/photo.jpg", "--user-agent", IPHONE)
    assert other["rule"] is None


def test_explain_in_words(policy: Path) -> None:
    url = "https://example.org/a.mp4"
    words = call("explain", policy, url, "--size", "1 MB").stdout
    assert words.startswith("rule:    big videos (line 4)\neffects: 128 kbit/s per response, ")
    assert "other rules:\n  russian pages\n    header: " in words
    words = call("explain", policy, "http://example.com").stdout
    assert words.startswith("no rule matches: left alone\nwhy not:\n  big videos\n    host: ")


def test_explain_of_what_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "opaque.yaml"
    path.write_text(
        "version: 1\nname: opaque\nrules:\n"
        "  - {name: photos, when: {host: .example.org, content: photo}, then: {rate: 8 kB/s}}\n"
        "  - {name: phones, when: {client: {device: mobile}}, then: {rate: 8 kB/s}}\n"
        "  - {name: all of it, when: {host: .example.org, port: 443}, then: {rate: 16 kB/s}}\n"
    )
    url = "https://app.example.org/photo.jpg"
    told = ["--content-type", "image/jpeg", "--user-agent", IPHONE]
    assert explain(path, url, *told)["rule"] == "photos"
    answer = explain(path, url, *told, "--opaque")
    assert answer["rule"] == "all of it"
    assert answer["opaque"] is True
    assert answer["content"] is None
    assert answer["why_not"] == [
        {"rule": "photos", "condition": "content", "reason": ENCRYPTED},
        {
            "rule": "phones",
            "condition": "client",
            "reason": f"the client is not `the one asked for`: {ENCRYPTED}",
        },
    ]
    words = call("explain", path, url, "--opaque").stdout
    assert "opaque:  nothing but host, port and client is known" in words
    assert f"  photos\n    content: {ENCRYPTED}" in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["example.org/a"], "did you mean `https://example.org/a`?"),
        (["ftp://example.org/a"], "not an http or https URL"),
        (["https://"], "not an http or https URL"),
        (["https://example.org:99999/"], "Port out of range"),
        (["https://[::1/"], "is not a URL"),
        (["https://example.org", "--header", "nonsense"], "'Accept-Language: ru'"),
        (["https://example.org", "--size", "100"], "unit"),
        (["https://example.org", "--status", "9"], "not in the range"),
    ],
)
def test_explain_of_nonsense(policy: Path, arguments: list[str], message: str) -> None:
    result = call("explain", policy, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_explain_in_json_has_every_effect(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(
        "version: 1\nname: all\nrules:\n  - then:\n"
        "      {like: wpt/3gslow, as: policer, stall: {after: 1 MiB, for: 2 s},\n"
        "       cut: {after: 2 MiB}, requests: 10 / min, quota: {free: 1 MB, every: day},\n"
        "       from: response, stages: [{for: 1 s, rate: 1 Mbit/s}, {for: 2 s, block: 503}]}\n"
    )
    effects = explain(path, "https://example.org/")["effects"]
    assert isinstance(effects, dict)
    del effects["text"]
    assert effects == {
        "like": "wpt/3gslow",
        "rate": [{"rate_bytes_per_s": 97500.0, "per": "client"}],
        "as": "policer",
        "delay": {"mean_s": 0.2, "jitter_s": 0.0, "distribution": None},
        "stall": {"after_bytes": 1048576, "for_s": 2.0, "every_bytes": None},
        "cut": {"after_bytes": 2097152, "how": "reset"},
        "requests": [{"count": 10, "period_s": 60.0, "per": "rule"}],
        "quota": {"free_bytes": 1000000, "per": "client", "every": "day"},
        "stages": [
            {"for_s": 1.0, "rate": [{"rate_bytes_per_s": 125000.0, "per": "response"}],
             "as": "shaper"},
            {"for_s": 2.0, "block": 503},
        ],
        "stages_from": "response",
        "stages_repeat": False,
        "upload": {"rate": [{"rate_bytes_per_s": 41250.0, "per": "client"}]},
    }  # fmt: skip


def test_explain_is_about_now(tmp_path: Path) -> None:
    path = tmp_path / "now.yaml"
    path.write_text(
        "version: 1\nname: now\nrules:\n"
        "  - {when: {active: {from: 2021-03-10T10:00+03:00}}, then: {rate: 1 Mbit/s}}\n"
    )
    assert explain(path, "https://example.org/")["rule"] == "rule 1"


SCHOOL = """
version: 1
name: school
rules:
  - name: lessons
    when: {active: {days: mon-fri, hours: 08:00-16:00, tz: Europe/Moscow}}
    then: {rate: 1 Mbit/s}
"""


@pytest.mark.parametrize(
    ("at", "rule"),
    [
        ("mon 10:00", "lessons"),
        ("Monday 8:00", "lessons"),
        ("mon 07:59", None),
        ("fri 15:59", "lessons"),
        ("fri 16:00", None),
        ("sat 10:00", None),
        ("2021-03-10T10:00+03:00", "lessons"),
        ("2021-03-10T10:00Z", "lessons"),
        ("2021-03-10T15:00Z", None),
    ],
)
def test_explain_of_a_time(tmp_path: Path, at: str, rule: str | None) -> None:
    path = tmp_path / "school.yaml"
    path.write_text(SCHOOL)
    assert explain(path, "https://example.org/", "--at", at)["rule"] == rule


@pytest.mark.parametrize("at", ["noon", "25:00", "10:60", "mon", "moon 10:00", "2021-03-10"])
def test_explain_of_no_time(policy: Path, at: str) -> None:
    result = call("explain", policy, "https://example.org/", "--at", at)
    assert result.exit_code == 2
    assert "--at" in result.stderr
    assert at.split()[0] in result.stderr


def test_explain_of_a_time_in_several_zones(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(SCHOOL + SCHOOL.partition("rules:")[2].replace("Europe/Moscow", "UTC")
                    .replace("lessons", "others"))  # fmt: skip
    result = call("explain", path, "https://example.org/", "--at", "mon 10:00")
    assert result.exit_code == 2
    assert "several time zones (Europe/Moscow, UTC)" in result.stderr


# policies


def test_policies_are_listed_with_what_they_are() -> None:
    lines = call("policies").stdout.splitlines()
    assert (
        "  twitter-2021             Photos and videos of one site, slowed for all phones and "
        "for half of the desktops."
    ) in lines
    assert any(" ".join(line.split()).startswith("wpt/3gslow 780 kbit/s down") for line in lines)


def test_a_policy_is_shown_as_it_is(tmp_path: Path) -> None:
    shown = call("policies", "show", "twitter-2021").stdout
    schema = re.match(r"# yaml-language-server: \$schema=file://(/.+)\n", shown)
    assert schema is not None
    assert Path(schema[1]).is_file()  # wherever the file is put that begins with it
    mine = tmp_path / "mine.yaml"
    mine.write_text(shown)
    assert "# Twitter in Russia from 10 March 2021, AS ANNOUNCED" in shown
    assert call("check", mine).exit_code == 0


def test_a_preset_is_shown_with_its_source() -> None:
    shown = call("policies", "show", "lighthouse/mobile-slow-4g").stdout
    assert "1.6384 Mbit/s down, 750 kbit/s up, 150 ms" in shown
    assert "https://github.com/GoogleChrome/lighthouse/" in shown
    assert "Lighthouse's default." in shown


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("twiter-2021", "no policy or preset is named `twiter-2021`: did you mean `twitter-2021`?"),
        ("zzz", "no policy or preset is named `zzz`: `mitmthrottle policies` lists them"),
    ],
)
def test_showing_what_is_not_there(name: str, said: str) -> None:
    result = call("policies", "show", name)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {said}\n"


# run


def test_run_does_not_start_with_a_broken_policy(broken: Path) -> None:
    result = call("run", broken, "--listen-port", "0")
    assert result.exit_code == 1
    assert f"{broken}:4:12: " in result.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: mitmdump ends the process that it runs in."""
    return subprocess.run(
        [sys.executable, "-c", "from mitmthrottle.cli import main; main()", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_run_hands_further_options_to_mitmdump(policy: Path) -> None:
    """`--options` makes mitmdump list its options and end."""
    result = run(str(policy), "--listen-port", "0", "-q", "--options")
    assert result.returncode == 0, result.stderr
    assert "\nlisten_port:" in result.stdout


def test_run_leaves_wrong_options_to_mitmdump(policy: Path) -> None:
    result = run(str(policy), "--no-such-option")
    assert result.returncode == 1
    assert "unrecognized arguments: --no-such-option" in result.stderr


def test_help_names_every_command() -> None:
    words = call("--help").stdout
    for command in ("run", "check", "explain", "policies", "demo"):
        assert f"\n  {command} " in words
