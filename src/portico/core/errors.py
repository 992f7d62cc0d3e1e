"""Everything that can go wrong with a request, without status codes: each dialect has its own table.

PorticoError
├── RequestError                 the client must change something
│   ├── MalformedRequest         the body is not what the route reads at all (not JSON, wrong encoding)
│   ├── InvalidParameter         a field has a wrong type or a value out of range
│   │   └── InvalidGrammar       the form that an output shall have cannot be compiled
│   │       └── GrammarExhausted     an output came to where it could not go on within its form
│   ├── UnsupportedParameter     a known or unknown field that this server does not honour
│   ├── PromptTooLong            prompt and requested output do not fit the context
│   ├── Unauthorized             no key, or not a right one
│   ├── Forbidden                the key, or the way that was taken, does not give access to this
│   ├── UnknownModel             no such model is served
│   ├── UnknownRoute             no such path
│   ├── MethodNotAllowed         the path exists with other methods
│   ├── UnsupportedMediaType     the body does not say that it is JSON
│   └── PayloadTooLarge          the body is over the limit
├── QuotaExceeded                the key's share is used up: try again later
├── Overloaded                   the waiting queue is full: try again later
├── NotReady                     the engine is loading or restarting: try again later
├── EngineFailure                the engine failed while working on this request
└── TimedOut                     the time of the request is over, by its client or by the operator
    ├── QueueTimedOut            it waited too long and was not begun: try again later
    └── Stalled                  it was begun, and then nothing came for too long
"""

from __future__ import annotations


class PorticoError(Exception):
    """Base of all errors that reach a client; `str(error)` is a full sentence for them."""


class RequestError(PorticoError):
    """The request itself is at fault; sending it again unchanged fails again."""


class MalformedRequest(RequestError):
    """The body cannot be read as the format of the route."""


class InvalidParameter(RequestError):
    """A field has the wrong type or a value out of its range.

    `name` is the dialect's own name of the field, with its path (`messages[0].content`), or
    empty when no single field is at fault.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class InvalidGrammar(InvalidParameter):
    """A schema, an expression or rules that no output can be held to; `reason` is a sentence."""

    def __init__(self, name: str, kind: str, reason: str) -> None:
        super().__init__(name, f"`{name}` cannot be used as a {kind}: {reason}")
        self.reason = reason


class GrammarExhausted(InvalidGrammar):
    """An output came to where nothing that may be drawn continues it, and it was not complete; see `InvalidGrammar`."""

    def __init__(self, name: str, reason: str) -> None:
        InvalidParameter.__init__(self, name, f"The output cannot be completed within `{name}`: {reason}")
        self.reason = reason


class UnsupportedParameter(RequestError):
    """A field that would have an effect which this server cannot give."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class PromptTooLong(RequestError):
    """The prompt, or the prompt with the requested output, does not fit the context.

    `max_tokens` is the requested output length, or None when the prompt alone is too long. `max_model_len` is the limit
    that is exceeded: the context, or what the operator lets a prompt have of it. A prompt that is far too long is not
    tokenised; then `num_prompt_tokens` is what it has at least.
    """

    def __init__(
        self, num_prompt_tokens: int, max_tokens: int | None, max_model_len: int, *, is_estimate: bool = False
    ) -> None:
        wanted = "" if max_tokens is None else f" and {max_tokens} output tokens were requested"
        at_least = "at least " if is_estimate else ""
        super().__init__(
            f"This model's maximum context length is {max_model_len} tokens, but the prompt has {at_least}"
            f"{num_prompt_tokens} tokens{wanted}. Shorten the prompt or ask for fewer tokens."
        )
        self.num_prompt_tokens = num_prompt_tokens
        self.max_tokens = max_tokens
        self.max_model_len = max_model_len


class Unauthorized(RequestError):
    """The request has no API key, several that differ, or one that is not known."""

    def __init__(self, is_missing: bool) -> None:
        super().__init__(
            "No API key was given. Send it in the header `Authorization: Bearer KEY` or `x-api-key: KEY`."
            if is_missing
            else "The API key is not valid."
        )
        self.is_missing = is_missing


class Forbidden(RequestError):
    """Whoever asks is known, or need not be, but may not do this; `tenant` is whose key it was, if there was one."""

    def __init__(self, message: str, tenant: str = "") -> None:
        super().__init__(message)
        self.tenant = tenant


class UnknownModel(RequestError):
    """No model of that name is served."""

    def __init__(self, name: str, served_names: tuple[str, ...]) -> None:
        super().__init__(f"The model `{name}` does not exist. Served models: {', '.join(served_names)}.")
        self.name = name
        self.served_names = served_names


class UnknownRoute(RequestError):
    """No dialect serves that path; `similar` is one that may have been meant."""

    def __init__(self, method: str, path: str, similar: str | None = None) -> None:
        hint = f" Did you mean {similar}?" if similar else ""
        super().__init__(f"There is no {method} {path} on this server.{hint}")
        self.method = method
        self.path = path


class MethodNotAllowed(RequestError):
    """The path is served, but not with that method."""

    def __init__(self, method: str, path: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{path} does not answer {method}; use {' or '.join(allowed)}.")
        self.allowed = allowed


class UnsupportedMediaType(RequestError):
    """The body is of another kind than the route reads, or does not say of which; `media_type` is what it says."""

    def __init__(self, media_type: str) -> None:
        given = f"got {media_type!r}" if media_type else "but there is no such header"
        super().__init__(f"The request needs the header `Content-Type: application/json`, {given}.")
        self.media_type = media_type


class PayloadTooLarge(RequestError):
    """The body is larger than the server reads."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The request body is larger than the limit of {max_bytes} bytes.")
        self.max_bytes = max_bytes


class QuotaExceeded(PorticoError):
    """A tenant has used its share of `kind` (`requests` or `tokens`); `retry_after` is a hint in seconds."""

    def __init__(self, kind: str, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class Overloaded(PorticoError):
    """Too many requests are waiting; `retry_after` is a hint in seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(PorticoError):
    """The engine cannot take requests at the moment; `retry_after` is a hint in seconds."""

    def __init__(self, message: str, retry_after: int = 2) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineFailure(PorticoError):
    """The engine failed on this request or stopped while working on it."""


class TimedOut(PorticoError):
    """The request was not answered within `timeout` seconds."""

    def __init__(self, timeout: float, message: str = "") -> None:
        super().__init__(message or f"The request was not answered within {timeout:g} seconds.")
        self.timeout = timeout


class QueueTimedOut(TimedOut):
    """The engine did not begin with the request within `timeout` seconds; `retry_after` is a hint in seconds."""

    def __init__(self, timeout: float, retry_after: int = 5) -> None:
        super().__init__(
            timeout,
            f"The server is busy: the request waited for {timeout:g} seconds and was not begun. Try again later.",
        )
        self.retry_after = retry_after


class Stalled(TimedOut):
    """Nothing new came for `timeout` seconds after the request was begun."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout, f"The request was given up: no token came for {timeout:g} seconds.")
