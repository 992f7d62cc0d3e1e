"""Settings of logs and traces, as clients read them and may not change them.

Source: https://github.com/triton-inference-server/server/tree/main/docs/protocol (extension_logging.md,
extension_trace.md). What is set already may be set again, and null is the default, which is what holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import UnsupportedParameter
from portico.core.model import ServerStatus
from portico.dialects import wire
from portico.dialects.triton import model
from portico.dialects.triton.errors import SettingRefused

_LOG_REASON = "start the server with other --log-level or --log-format."
_TRACE_REASON = "requests are not traced; every one of them has a line in the log, and /metrics has their times."
# There are no traces; the other values are those that the original begins with.
_TRACE: Mapping[str, Any] = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}


def describe_logging(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2/logging`, and `POST` of what is so already.

    Raises:
        RequestError: the body asks for something else.
    """
    current = _log_settings(status)
    _require_same(_read(raw), current, _LOG_REASON)
    return Reply(200, wire.encode_json(current))


def describe_tracing(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2/trace/setting` and that of a model, and `POST` of what is so already.

    Raises:
        RequestError: there is no such model, or the body asks for something else.
    """
    if "model" in raw.path_params:
        model.require_model(status, raw.path_params["model"], "")
    _require_same(_read(raw), _TRACE, _TRACE_REASON)
    return Reply(200, wire.encode_json(_TRACE))


def log_settings_message(message: Any, status: ServerStatus) -> dict[str, Any]:
    """The same over gRPC, where a value is one of three types."""
    current = _log_settings(status)
    _require_same({name: _choice(value) for name, value in message.settings.items()}, current, _LOG_REASON)
    return {"settings": {name: {_KINDS[type(value)]: value} for name, value in current.items()}}


def trace_setting_message(message: Any, status: ServerStatus) -> dict[str, Any]:
    """The same over gRPC, where a value is a list of strings, and an empty one is the default."""
    if message.model_name:
        model.require_model(status, message.model_name, "")
    given = {name: list(value.value) for name, value in message.settings.items()}
    current = {name: value if isinstance(value, list) else [value] for name, value in _TRACE.items()}
    _require_same({name: value or None for name, value in given.items()}, current, _TRACE_REASON)
    return {"settings": {name: {"value": value} for name, value in current.items()}}


_KINDS = {bool: "bool_param", int: "uint32_param", str: "string_param"}


def _choice(value: Any) -> Any:
    kind = value.WhichOneof("choice")
    return None if kind is None else getattr(value, kind)


def _log_settings(status: ServerStatus) -> dict[str, Any]:
    """The log goes to the standard error output, which the original writes as no file."""
    shown = {"debug": 4, "info": 3, "warning": 2, "error": 1}[status.log_level]
    return {
        "log_file": "",
        "log_info": shown >= 3,
        "log_warning": shown >= 2,
        "log_error": True,
        "log_verbose_level": 1 if shown == 4 else 0,
        "log_format": "default",
    }


def _read(raw: RawRequest) -> Mapping[str, Any]:
    return wire.decode_object(raw.body) if raw.method == "POST" and raw.body.strip() else {}


def _require_same(given: Mapping[str, Any], current: Mapping[str, Any], reason: str) -> None:
    for name, value in given.items():
        if name not in current:
            raise UnsupportedParameter(name, f"Unknown setting: `{name}`. There are {', '.join(current)}.")
        is_same = value == current[name] and isinstance(value, bool) == isinstance(current[name], bool)
        if value is not None and not is_same:
            raise SettingRefused(name, current[name], reason)
