"""Every log record is one line, and no line holds a word of a prompt or an answer."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.core.errors import EngineFailure, InvalidParameter
from portico.core.events import Prefilled, Started
from portico.core.observer import Observers, RequestRecord
from portico.telemetry.logging import AccessLog, JsonFormatter, TextFormatter, configure_logging
from tests.core.events import delta, finished


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, portico = logging.getLogger(), logging.getLogger("portico")
    handlers, levels = root.handlers[:], (root.level, portico.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    portico.setLevel(levels[1])


def record_of(message: str, **fields: Any) -> logging.LogRecord:
    record = logging.LogRecord("portico.test", logging.INFO, __file__, 1, message, (), None)
    record.created, record.msecs = 1700000000.25, 250
    record.fields = fields
    return record


def answered() -> RequestRecord:
    record = RequestRecord("req-1", "openai", "/v1/completions")
    record.observe([Started("demo model", (5,)), Prefilled(0, 2, ())], Observers())
    record.observe([delta(0, "secret", [1, 2, 3]), finished(0)], Observers())
    return record


def test_text() -> None:
    line = TextFormatter().format(record_of("started", port=1025, name="two words", empty="", stream=True, eq="a=b"))
    assert line == (
        '2023-11-14T22:13:20.250Z INFO portico.test started port=1025 name="two words" empty="" stream=true eq="a=b"'
    )


def test_json() -> None:
    line = JsonFormatter().format(record_of("started", port=1025, name="提示"))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "portico.test",
        "message": "started",
        "port": 1025,
        "name": "提示",
    }
    assert "提示" in line


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_record_is_one_line(message: str, value: str) -> None:
    record = record_of("%s", value=value)
    record.args = (message,)
    assert len(TextFormatter().format(record).splitlines()) == 1
    line = JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == message
    assert json.loads(line)["value"] == value


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_nothing_commands_a_terminal_or_turns_the_text(formatter: logging.Formatter) -> None:
    hostile = "\x1b[31m\x9b31m\x07\b\x7f\x00\t\u202e\u2066\u200f\u061c"
    record = record_of("%s", value=hostile)
    record.args = (hostile,)
    line = formatter.format(record)
    assert line.isprintable()
    assert line.count("\\u009b31m") == 2
    assert "保持 e\u0301 \u200d" in formatter.format(record_of("保持 e\u0301 \u200d"))


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_exception_is_on_the_same_line(formatter: logging.Formatter) -> None:
    record = record_of("broken")
    try:
        raise ZeroDivisionError("why")
    except ZeroDivisionError:
        record.exc_info = sys.exc_info()
    line = formatter.format(record)
    assert len(line.splitlines()) == 1
    assert "ZeroDivisionError: why" in line


def test_the_access_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    record = answered()
    record.is_streamed = True
    record.end(200, AccessLog())
    fields = json.loads(capsys.readouterr().err)
    times = [fields.pop(name) for name in ("queue_time", "first_token_time", "total_time")]
    assert all(value >= 0 for value in times)
    del fields["time"]
    assert fields == {
        "level": "info",
        "logger": "portico.access",
        "message": "request answered",
        "request_id": "req-1",
        "dialect": "openai",
        "route": "/v1/completions",
        "status": 200,
        "model": "demo model",
        "stream": True,
        "num_prompt_tokens": 5,
        "num_cached_tokens": 2,
        "num_output_tokens": 3,
        "finish_reasons": "stop",
    }


def test_the_access_line_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    answered().end(200, AccessLog())
    line = capsys.readouterr().err
    assert "request answered request_id=req-1 dialect=openai route=/v1/completions status=200" in line
    assert 'model="demo model"' in line
    assert "secret" not in line


def test_refusals_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    refused = RequestRecord("req-2", "tgi", "/generate")
    refused.fail(InvalidParameter("n", "the prompt 'secret' is wrong"))
    refused.end(422, AccessLog())
    failed = answered()
    failed.fail(EngineFailure("secret"))
    failed.end(500, AccessLog())
    first, second = capsys.readouterr().err.splitlines()
    assert " INFO portico.access request refused request_id=req-2" in first
    assert "status=422 error=InvalidParameter" in first
    assert " ERROR portico.access request failed" in second
    assert "error=EngineFailure" in second
    assert "secret" not in first + second


def test_answers_that_generate_nothing_are_for_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    RequestRecord("req-3", "tgi", "/health").end(200, AccessLog())
    assert capsys.readouterr().err == ""
    configure_logging("debug", "text")
    RequestRecord("req-3", "tgi", "/health").end(200, AccessLog())
    assert "route=/health status=200" in capsys.readouterr().err


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    logging.getLogger("portico.web").info("ours")
    logging.getLogger("library").info("theirs")
    logging.getLogger("library").warning("their warning")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(" ", 1)[-1] for line in lines] == ["ours", "warning"]
    configure_logging("error", "text")
    logging.getLogger("library").warning("their warning")
    assert capsys.readouterr().err == ""
