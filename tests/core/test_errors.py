"""Errors are sentences with the facts, and their tree is the one that their module draws."""

from __future__ import annotations

import pytest

from portico.core import errors
from portico.core.errors import (
    EngineFailure,
    Forbidden,
    GrammarExhausted,
    InvalidGrammar,
    InvalidParameter,
    MalformedRequest,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PorticoError,
    PromptTooLong,
    QueueTimedOut,
    QuotaExceeded,
    RequestError,
    Stalled,
    TimedOut,
    Unauthorized,
    UnknownModel,
    UnknownRoute,
    UnsupportedMediaType,
    UnsupportedParameter,
)

EXAMPLES: dict[PorticoError, str] = {
    MalformedRequest("The request body is not valid JSON."): "not valid JSON",
    InvalidParameter("n", "`n` must be at least 1, but is 0."): "at least 1",
    InvalidGrammar("schema", "JSON schema", "no text satisfies it."): "as a JSON schema: no text",
    GrammarExhausted("schema", "no token continues it."): "within `schema`: no token continues it.",
    UnsupportedParameter("suffix", "`suffix` is not supported."): "`suffix`",
    PromptTooLong(9, None, 8): "maximum context length is 8 tokens, but the prompt has 9 tokens.",
    PromptTooLong(6, 4, 8): "the prompt has 6 tokens and 4 output tokens were requested.",
    Unauthorized(is_missing=True): "No API key was given.",
    Unauthorized(is_missing=False): "is not valid.",
    Forbidden("The key `a` is not an operator's."): "`a`",
    UnknownModel("x", ("a", "b")): "The model `x` does not exist. Served models: a, b.",
    UnknownRoute("GET", "/x"): "There is no GET /x",
    MethodNotAllowed("GET", "/x", ("POST", "PUT")): "/x does not answer GET; use POST or PUT.",
    UnsupportedMediaType(""): "there is no such header.",
    PayloadTooLarge(10): "limit of 10 bytes",
    QuotaExceeded("requests", "The key `a` may use 1 requests per minute."): "1 requests",
    Overloaded("Too many requests are waiting."): "waiting",
    NotReady("The model is being loaded."): "loaded",
    TimedOut(2.5): "within 2.5 seconds",
    QueueTimedOut(2.5): "waited for 2.5 seconds",
    Stalled(2.5): "no token came for 2.5 seconds",
    EngineFailure("The engine stopped."): "stopped",
}


@pytest.mark.parametrize(("error", "part"), EXAMPLES.items(), ids=lambda each: type(each).__name__)
def test_messages_are_sentences(error: PorticoError, part: str) -> None:
    message = str(error)
    assert part in message
    assert message.endswith(".")
    assert "\n" not in message


def test_every_error_has_an_example() -> None:
    tree = _tree(PorticoError)
    leaves = {each for each in tree if not any(each in other.__bases__ for other in tree)}
    assert {type(error) for error in EXAMPLES} >= leaves


def test_the_tree_is_as_drawn() -> None:
    drawing = errors.__doc__ or ""
    for error in _tree(PorticoError) - {PorticoError}:
        lines = [line for line in drawing.splitlines() if f"── {error.__name__} " in line]
        assert len(lines) == 1, f"{error.__name__} is drawn once"
        is_below_request_error = lines[0].startswith("│")
        assert is_below_request_error == (issubclass(error, RequestError) and error is not RequestError)


def test_retry_hints() -> None:
    assert Overloaded("Full.").retry_after >= 1
    assert NotReady("Loading.", retry_after=9).retry_after == 9


def _tree(error: type[PorticoError]) -> set[type[PorticoError]]:
    """An error and all that derive from it in its own module; other modules may refine them."""
    below = [each for each in error.__subclasses__() if each.__module__ == errors.__name__]
    return {error}.union(*(_tree(each) for each in below))
