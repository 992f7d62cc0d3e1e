"""Logs: one line per record, as text or as JSON, without the words of any prompt or answer.

Fields go in `extra={"fields": {...}}`; a line is its message followed by them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from portico.core.observer import Outcome, RequestRecord

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")

# What some reader takes for the end of a line, a command to a terminal, or a change of the direction of writing.
_UNWRITABLE = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0x61C,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)
# As JSON writes them.
_ESCAPES = {each: json.dumps(chr(each))[1:-1] for each in _UNWRITABLE}
_NOTHING: Mapping[str, Any] = {}


def configure_logging(level: str, format: str) -> None:
    """Sends the server's records of `level` and above, and warnings of libraries, to standard error.

    Replaces what was configured before. `level` is one of `LOG_LEVELS`, `format` one of `LOG_FORMATS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    for each in tuple(root.handlers):
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, _level(level)))
    logging.getLogger("portico").setLevel(_level(level))


class TextFormatter(logging.Formatter):
    """`2025-01-31T12:00:00.123Z INFO portico.access message key=value ...`"""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields = "".join(f" {name}={_word(value)}" for name, value in _fields(self, record).items())
        line = f"{_timestamp(record)} {record.levelname} {record.name} {record.getMessage()}{fields}"
        return line.translate(_ESCAPES)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        head = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line = json.dumps(head | dict(_fields(self, record)), ensure_ascii=False, default=str)
        return line.translate(_ESCAPES)


class AccessLog:
    """An observer that writes one line per finished request.

    Answers that generate nothing, such as health checks, are written at the level of debugging.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger("portico.access")

    def on_end(self, record: RequestRecord) -> None:
        """Writes the line."""
        level = logging.INFO
        if record.outcome is Outcome.FAILED:
            level = logging.ERROR
        elif record.outcome is Outcome.ANSWERED and record.started_at is None:
            level = logging.DEBUG
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "request %s", record.outcome.value, extra={"fields": access_fields(record)})


def access_fields(record: RequestRecord) -> dict[str, Any]:
    """What the log says of a request; fields that it has not come to are left out."""
    fields: dict[str, Any] = {
        "request_id": record.name or record.request_id,
        "dialect": record.dialect,
        "route": record.route,
        "status": record.status,
    }
    if record.name not in ("", record.request_id):
        fields["own_id"] = record.request_id
    if record.trace_id:
        fields["trace_id"] = record.trace_id
    if record.tenant:
        fields["key"] = record.tenant
    if record.error_kind:
        fields["error"] = record.error_kind
    if record.started_at is not None:
        fields |= {
            "model": record.model,
            "stream": record.is_streamed,
            "num_prompt_tokens": record.num_prompt_tokens,
            "num_cached_tokens": record.num_cached_tokens,
            "num_output_tokens": record.num_output_tokens,
            "finish_reasons": ",".join(reason.value for reason in record.finish_reasons),
        }
    times = {
        "queue_time": record.queue_time,
        "first_token_time": _since(record, record.first_token_at),
        "total_time": _since(record, record.ended_at),
    }
    return fields | {name: round(value, 6) for name, value in times.items() if value is not None}


def _since(record: RequestRecord, moment: float | None) -> float | None:
    return None if moment is None else moment - record.received_at


def _level(name: str) -> int:
    return logging.getLevelNamesMapping()[name.upper()]


def _timestamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", _NOTHING)
    if record.exc_info:
        return {**fields, "exception": formatter.formatException(record.exc_info)}
    return fields


def _word(value: Any) -> str:
    """A value without a space or line break outside quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    is_plain = text.isprintable() and text and not any(each in text for each in ' "=')
    return text if is_plain else json.dumps(text, ensure_ascii=False)
