"""`throttle_log`: what is in a line, when it is written, and what a bad disk does."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import exceptions
from mitmproxy.test import taddons, tflow

from mitmthrottle.proxy.facts import exchange_of
from mitmthrottle.watch.log import MOST_WAITING_BYTES, WRITE_EVERY_S, Log, line_of

from .records import record, rule


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def written(log: Log) -> None:
    """What waits is on its way to the disk `WRITE_EVERY_S` later at most; a busy machine may take
    longer."""
    assert log._writing is not None
    await asyncio.wait_for(log._writing, WRITE_EVERY_S + 30)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_as_documented() -> None:
    assert json.loads(line_of(record())) == {
        "time": 1000.5,
        "kind": "response",
        "direction": "down",
        "flow": "f1",
        "client": "198.18.0.7",
        "user": None,
        "method": "GET",
        "scheme": "https",
        "host": "a.slow.example",
        "port": 443,
        "path": "/p.jpg?size=large",
        "content": "photo",
        "status": 200,
        "rule": "photos",
        "line": 4,
        "asked_bytes_per_s": 8000.0,
        "measured_bytes_per_s": 7990.123,
        "bytes": 20_000,
        "waited_s": 2.4,
        "duration_s": 2.5,
        "outcome": "complete",
        "version": "0123456789ab",
    }


def test_unmatched_responses_have_a_line_with_rule_null() -> None:
    line = json.loads(line_of(record(rule=None, asked_bytes_per_s=None)))
    assert (line["rule"], line["line"], line["asked_bytes_per_s"]) == (None, None, None)


def test_no_url_can_break_a_line() -> None:
    flow = tflow.tflow()
    flow.request.data.path = '/"\n\r\u2028\udcff\x00é\U0001f422'.encode(errors="surrogateescape")
    exchange = exchange_of(flow, 0, 0.0)
    data = line_of(record(exchange=exchange))
    assert data.count(b"\n") == 1
    assert data.isascii()
    assert json.loads(data)["path"] == r'/"\x0a\x0d\u2028\xff\x00é' + "\U0001f422"
    long = record(exchange=exchange._replace(path="/" + "a" * 8000 + ".jpg"))
    assert len(line_of(long)) < 3000
    assert json.loads(line_of(long))["path"].endswith("a.jpg")


@given(
    st.text(), st.text(), st.text() | st.none(), st.floats(0, 1e12), st.floats(0, 1e7) | st.none()
)
def test_every_line_says_what_the_record_does(
    path: str, host: str, user: str | None, rate: float, measured: float | None
) -> None:
    exchange = record().exchange._replace(path=path, host=host, user=user)
    made = record(exchange=exchange, asked_bytes_per_s=rate, measured_bytes_per_s=measured)
    line = json.loads(line_of(made))
    assert (line["path"], line["host"], line["user"]) == (path, host, user)
    assert line["asked_bytes_per_s"] == rate
    assert line["measured_bytes_per_s"] == (measured and pytest.approx(measured, abs=5.1e-4))


def test_a_rule_may_have_any_name() -> None:
    named = rule().model_copy(update={"name": 'a "rule" \\ é'})
    assert json.loads(line_of(record(rule=named)))["rule"] == 'a "rule" \\ é'


def test_an_opaque_connection_has_no_method_and_no_path() -> None:
    exchange = record().exchange._replace(opaque=True, status=None, content_type=None)
    line = json.loads(line_of(record(kind="opaque", direction="up", exchange=exchange)))
    assert (line["kind"], line["direction"]) == ("opaque", "up")
    assert (line["method"], line["path"], line["status"]) == (None, None, None)


def test_lines_are_written_soon_and_together(tmp_path: Path) -> None:
    async def main() -> None:
        log = Log()
        with taddons.context(log) as tctx:
            tctx.configure(log, throttle_log=str(tmp_path / "log"))
            assert log.wants_unmatched
            for _ in range(100):
                log.ended(record())
            assert not lines(tmp_path / "log")
            await written(log)
            assert len(lines(tmp_path / "log")) == 100
            log.ended(record(outcome="stopped"))
            log.done()
            assert lines(tmp_path / "log")[-1]["outcome"] == "stopped"
            log.ended(record(outcome="client-gone"))  # while mitmproxy closes its connections
            assert lines(tmp_path / "log")[-1]["outcome"] == "client-gone"

    run(main())


def test_without_the_option_nothing_is_kept() -> None:
    log = Log()
    with taddons.context(log) as tctx:
        tctx.configure(log, throttle_log="")
        assert not log.wants_unmatched
        log.ended(record())
        assert not log._waiting


def test_another_file_takes_over(tmp_path: Path) -> None:
    async def main() -> None:
        log = Log()
        with taddons.context(log) as tctx:
            tctx.configure(log, throttle_log=str(tmp_path / "one"))
            log.ended(record(flow_id="1"))
            tctx.configure(log, throttle_log=str(tmp_path / "two"))
            log.ended(record(flow_id="2"))
            tctx.configure(log, throttle_log="")
            log.ended(record(flow_id="3"))
        assert [line["flow"] for line in lines(tmp_path / "one")] == ["1"]
        assert [line["flow"] for line in lines(tmp_path / "two")] == ["2"]

    run(main())


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"throttle_log": "/nowhere/log"}, "/nowhere/log cannot be written: No such file"),
        ({"throttle_log": "/"}, "cannot be written: Is a directory"),
        ({"throttle_log_size": "64"}, "throttle_log_size"),
        ({"throttle_log_files": -1}, "throttle_log_files: -1 is less than none"),
    ],
)
def test_bad_options_are_refused_with_their_reason(option: dict[str, Any], said: str) -> None:
    log = Log()
    with taddons.context(log) as tctx, pytest.raises(exceptions.OptionsError, match=said):
        tctx.configure(log, **option)


def test_a_full_disk_costs_lines_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        log = Log()
        with taddons.context(log) as tctx:
            tctx.configure(log, throttle_log="/dev/full")
            for _ in range(3):
                log.ended(record())
                await written(log)
            assert log.lost == 3

    with caplog.at_level(logging.ERROR):
        run(main())
    (said,) = caplog.messages
    assert said == (
        "mitmthrottle: throttle_log: /dev/full cannot be written: No space left on device; "
        "all flows go on"
    )


def test_a_folder_that_is_back_is_said_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        log = Log()
        folder = tmp_path / "logs"
        folder.mkdir()
        with taddons.context(log) as tctx:
            tctx.configure(log, throttle_log=str(folder / "log"))
            (folder / "log").unlink()
            folder.rmdir()
            log.ended(record())
            await written(log)
            folder.mkdir()
            log.ended(record())
            await written(log)
            assert len(lines(folder / "log")) == 1

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "cannot be written: No such file or directory" in caplog.messages[0]
    assert caplog.messages[1].endswith("log goes on; 1 lines were lost")


def test_a_line_that_cannot_be_made_takes_no_other_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        log = Log()
        with taddons.context(log) as tctx:
            tctx.configure(log, throttle_log=str(tmp_path / "log"))
            log.ended(record())
            log.ended(record(time="no number"))
            log.ended(record(outcome="stopped"))
            await written(log)
            assert [each["outcome"] for each in lines(tmp_path / "log")] == ["complete", "stopped"]
            assert log.lost == 1

    run(main())
    assert "a line could not be made" in caplog.text


def test_a_disk_that_hangs_does_not_fill_the_memory(tmp_path: Path) -> None:
    async def main() -> None:
        log = Log()
        with taddons.context(log) as tctx:
            tctx.configure(log, throttle_log=str(tmp_path / "log"))
            one = record()
            size = len(line_of(one))
            room = -(-MOST_WAITING_BYTES // size)
            for _ in range(room + 10):
                log.ended(one)
            assert len(log._waiting) == room
            assert log.lost == 10

    run(main())
