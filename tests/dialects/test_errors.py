"""Every error in every dialect: a status of its kind, and a body that says what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portico.core import errors
from portico.core.errors import PorticoError, RequestError
from tests.dialects.golden import DIALECTS, load_dialect

ERRORS: tuple[PorticoError, ...] = (
    errors.MalformedRequest("The body is not JSON."),
    errors.InvalidParameter("n", "`n` must be at least 1, got 0."),
    errors.InvalidParameter("", "These fields do not go together."),
    errors.InvalidGrammar("schema", "JSON schema", "no text satisfies it."),
    errors.GrammarExhausted("schema", "no token of the model's vocabulary continues it."),
    errors.UnsupportedParameter("suffix", "`suffix` is not supported."),
    errors.PromptTooLong(600, None, 512),
    errors.PromptTooLong(500, 100, 512),
    errors.Unauthorized(is_missing=True),
    errors.Unauthorized(is_missing=False),
    errors.Forbidden("The key `a` is not an operator's."),
    errors.UnknownModel("no/such", ("demo", "other")),
    errors.UnknownRoute("GET", "/nowhere"),
    errors.MethodNotAllowed("PUT", "/v1/models", ("GET", "HEAD")),
    errors.UnsupportedMediaType("text/plain"),
    errors.PayloadTooLarge(1000),
    errors.QuotaExceeded("tokens", "The key `a` may use 5 tokens per minute.", retry_after=9),
    errors.Overloaded("The queue is full.", retry_after=3),
    errors.NotReady("The engine is loading.", retry_after=7),
    errors.TimedOut(12.5),
    errors.QueueTimedOut(12.5, retry_after=4),
    errors.Stalled(12.5),
    errors.EngineFailure('The engine stopped: "\n".'),
)
PROFILES = [(name, None) for name in DIALECTS] + [("vllm", "MINDIE"), ("tgi", "IMPROVED"), ("tgi", "MINDIE")]


def _leaves(base: type[PorticoError]) -> set[type[PorticoError]]:
    """The classes of core that stand at the end of the tree."""
    below = [each for each in base.__subclasses__() if each.__module__ == errors.__name__]
    return set().union(*map(_leaves, below)) if below else {base}


def test_no_error_is_forgotten() -> None:
    assert _leaves(PorticoError) <= {type(error) for error in ERRORS}


@pytest.mark.parametrize(("name", "profile"), PROFILES)
@pytest.mark.parametrize("error", [pytest.param(error, id=type(error).__name__) for error in ERRORS])
def test_refusal(name: str, profile: str | None, error: PorticoError) -> None:
    reply = load_dialect(name, profile).refuse(error)
    assert reply.status in range(400, 500 if isinstance(error, RequestError) else 600)
    text = reply.body.decode()
    # Some upstream servers answer in plain text what is wrong before their own code sees the request.
    if reply.media_type == "application/json":
        text = "\n".join(_strings(json.loads(text)))
    for fact in _facts(error):
        assert fact in text


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_when_to_try_again(name: str, profile: str | None) -> None:
    dialect = load_dialect(name, profile)
    for error in ERRORS:
        if isinstance(error, errors.Overloaded | errors.NotReady | errors.QueueTimedOut | errors.QuotaExceeded):
            assert dialect.refuse(error).headers["Retry-After"] == str(error.retry_after)


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_who_is_not_let_in(name: str, profile: str | None) -> None:
    dialect = load_dialect(name, profile)
    unauthorized = dialect.refuse(errors.Unauthorized(is_missing=True))
    assert (unauthorized.status, unauthorized.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert dialect.refuse(errors.Forbidden("No.")).status == 403
    assert dialect.refuse(errors.QuotaExceeded("requests", "No.")).status == 429


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_errors_that_are_yet_unknown(name: str, profile: str | None) -> None:
    assert load_dialect(name, profile).refuse(PorticoError("Something else.")).status >= 500


def _facts(error: PorticoError) -> list[str]:
    """What the answer must say. Where clients know an upstream sentence by heart, the values in it are enough."""
    match error:
        case errors.PromptTooLong():
            return [str(error.num_prompt_tokens), str(error.max_model_len)]
        case errors.InvalidGrammar():
            return [error.reason]
        case errors.UnknownModel():
            return [error.name]
        case errors.UnknownRoute() | errors.MethodNotAllowed():
            return []
    return [str(error)]


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [string for each in value.values() for string in _strings(each)]
    if isinstance(value, list):
        return [string for each in value for string in _strings(each)]
    return [value] if isinstance(value, str) else []
