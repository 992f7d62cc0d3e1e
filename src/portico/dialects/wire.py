"""JSON and framing that carry no dialect's word."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import Any, TypeVar

import msgspec

from portico.core.errors import (
    InvalidParameter,
    MalformedRequest,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PorticoError,
    QueueTimedOut,
    QuotaExceeded,
    Unauthorized,
)

T = TypeVar("T")

# Values in a body, by the characters that come with each: nothing else is done while they are made into objects.
MAX_VALUES = 1_000_000
# Characters of a text to stop at or to ban; what may be the beginning of one is held back from a stream.
MAX_WORD_LENGTH = 1024
# As vLLM has it: each is spelled in two ways, which are looked for at every token.
MAX_BANNED_WORDS = 128

_AT_PATH = re.compile(r"^(?P<message>.*) - at `(?:key in )?\$\.?(?P<path>.*)`$", re.DOTALL)
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_TOKEN_ID = re.compile(r"^[0-9]{1,18}\Z")
_SEPARATORS = tuple((chr(code).encode(), b"\\u%04x" % code) for code in (0x85, 0x2028, 0x2029))
_MAX_CACHE_SALT = 128
_SLICE = 4096
_encoder = msgspec.json.Encoder()


# Some servers count from the least signed number, others to the greatest one without a sign.
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
_MAX_DIGITS = 40


class SchemaMismatch(InvalidParameter):
    """A field is missing or has the wrong type, in distinction from a value out of range."""

    def __init__(self, name: str, message: str, is_missing: bool) -> None:
        super().__init__(name, message)
        self.is_missing = is_missing


class IntegerOutOfRange(SchemaMismatch):
    """An integer of more than 64 bits; `limit` is the one that it is beyond."""

    def __init__(self, name: str, number: int) -> None:
        self.limit = _MAX_INTEGER if number > 0 else _MIN_INTEGER
        self.number = number
        digits = str(number)
        self.shown = digits if len(digits) <= _MAX_DIGITS else f"{digits[:_MAX_DIGITS]}..."
        which = "at most" if number > 0 else "at least"
        super().__init__(name, f"`{name}` must be {which} {self.limit}, got {self.shown}.", is_missing=False)


def error_headers(error: PorticoError) -> dict[str, str]:
    """What HTTP itself says of an error, in a header."""
    match error:
        case QuotaExceeded() | Overloaded() | NotReady() | QueueTimedOut():
            return {"Retry-After": str(error.retry_after)}
        case MethodNotAllowed():
            return {"Allow": ", ".join(error.allowed)}
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
    return {}


def encode_json(value: Any) -> bytes:
    """Compact JSON; structs and plain values alike."""
    return _encoder.encode(value)


def raw_json(encoded: str) -> Any:
    """JSON text that `encode_json` puts where this value stands, as it is."""
    return msgspec.Raw(encoded.encode())


def encode_list(values: Iterable[Any]) -> Any:
    """A list for `encode_json`, already encoded: of many values no more than some are there as objects at a time.

    One call of the encoder lets no other thread run, so of a long list it is given one slice after the other.
    """
    rest = iter(values)
    slices = iter(lambda: list(islice(rest, _SLICE)), [])
    return msgspec.Raw(b"[" + b",".join(_encoder.encode(each)[1:-1] for each in slices) + b"]")


def encode_text(text: str) -> bytes:
    """A text as a JSON string on one line; see `one_line`."""
    encoded = _encoder.encode(text)
    return encoded if encoded.isascii() else one_line(encoded)


def one_line(encoded: bytes) -> bytes:
    """JSON on one line for every reader: some readers of streams break lines at Unicode's line separators too."""
    if encoded.isascii():
        return encoded
    for separator, escape in _SEPARATORS:
        encoded = encoded.replace(separator, escape)
    return encoded


def sse(payload: bytes) -> bytes:
    """One server-sent event without a name."""
    return b"data: " + payload + b"\n\n"


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request body.

    Raises:
        MalformedRequest: the body is not UTF-8 JSON, is nested too deep, has too many values, or is not an object.
        IntegerOutOfRange: it has an integer that nothing can count.
    """
    value = read_object(body)
    if _LONG_NUMBER.search(body):
        _refuse_large_integers(value)
    return value


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request body whose integers may be of any size.

    Raises:
        MalformedRequest: see `decode_object`.
    """
    if len(body) > MAX_VALUES and sum(map(body.count, (b",", b"{", b"["))) > MAX_VALUES:
        raise MalformedRequest(f"The request body has more than {MAX_VALUES} values.")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"The request body is not valid JSON: {error}.") from None
    except RecursionError:
        raise MalformedRequest("The request body is nested too deep.") from None
    if not isinstance(value, dict):
        raise MalformedRequest("The request body must be a JSON object.")
    return value


def _refuse_large_integers(fields: dict[str, Any]) -> None:
    """Neither engines nor clients have integers of more than 64 bits."""
    rest: list[tuple[str, Any]] = [("", fields)]
    while rest:
        path, value = rest.pop()
        match value:
            case int(number) if not _MIN_INTEGER <= number <= _MAX_INTEGER:
                raise IntegerOutOfRange(path, number)
            case dict(inner):
                rest.extend((f"{path}.{name}" if path else name, each) for name, each in inner.items())
            case list(items):
                rest.extend((f"{path}[{index}]", each) for index, each in enumerate(items))


def convert(fields: dict[str, Any], schema: type[T], scope: str = "") -> T:
    """Checks the fields of a decoded object against a schema.

    `scope` is put before the names of fields in errors, such as `parameters`.

    Raises:
        SchemaMismatch: a field is missing or has the wrong type; it carries the path of the field.
    """
    try:
        return msgspec.convert(fields, schema, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
        path = ""
        if match := _AT_PATH.match(message):
            message, path = match["message"], match["path"]
        missing = re.search(r"missing required field `([^`]+)`", message)
        if missing:
            path = ".".join(part for part in (path, missing[1]) if part)
        name = ".".join(part for part in (scope, path) if part)
        where = f"`{name}`: " if name else ""
        raise SchemaMismatch(name, f"{where}{message}.", is_missing=missing is not None) from None


def or_default(value: T | None, default: T) -> T:
    """The value, or the default where it is absent or null."""
    return default if value is None else value


def require_between(
    name: str, value: float, low: float, high: float | None = None, *, without_low: bool = False
) -> None:
    """Checks that a number is in [low, high], or in (low, high]; without `high` it is any finite one.

    Raises:
        InvalidParameter: it is not.
    """
    is_below = value < math.inf if high is None else value <= high
    if (value > low or (value == low and not without_low)) and is_below:
        return
    lower = f"greater than {low}" if without_low else f"at least {low}"
    limits = lower if high is None else f"{lower} and at most {high}"
    raise InvalidParameter(name, f"`{name}` must be {limits}, got {value}.")


def require_few(name: str, items: Sized, limit: int, what: str) -> None:
    """Checks how many of something a list or an object has.

    Raises:
        InvalidParameter: more than `limit`.
    """
    if len(items) > limit:
        raise InvalidParameter(name, f"`{name}` can have at most {limit} {what}, got {len(items)}.")


def require_few_messages(name: str, messages: Sequence[Mapping[str, Any]], limit: int) -> None:
    """Checks the length of a conversation, which is what reading it and writing its prompt costs.

    Raises:
        InvalidParameter: there are more than `limit` messages and parts of their content.
    """
    contents = (message.get("content") for message in messages)
    num_parts = sum(len(content) for content in contents if isinstance(content, list))
    if (found := len(messages) + num_parts) > limit:
        raise InvalidParameter(
            name, f"`{name}` can have at most {limit} messages and parts of content together, got {found}."
        )


def require_short_words(name: str, words: Iterable[str]) -> None:
    """Checks texts that are looked for in every output.

    Raises:
        InvalidParameter: one is longer than any that could be meant.
    """
    for word in words:
        if len(word) > MAX_WORD_LENGTH:
            raise InvalidParameter(
                name, f"Texts in `{name}` can have at most {MAX_WORD_LENGTH} characters, got {len(word)}."
            )


def stop_strings(name: str, value: str | list[str] | None, max_stop: int) -> tuple[str, ...]:
    """Stop strings from one string or a list of them.

    Raises:
        InvalidParameter: more than `max_stop` strings, an empty one, or one that is too long.
    """
    stop = (value,) if isinstance(value, str) else tuple(value or ())
    require_few(name, stop, max_stop, "strings")
    if "" in stop:
        raise InvalidParameter(name, f"`{name}` cannot contain an empty string.")
    require_short_words(name, stop)
    return stop


def banned_words(name: str, value: list[str] | None) -> tuple[str, ...]:
    """Texts that an output must not hold.

    Raises:
        InvalidParameter: too many, one without a character that is not a space, or one that is too long.
    """
    words = tuple(value or ())
    require_few(name, words, MAX_BANNED_WORDS, "strings")
    require_short_words(name, words)
    if not all(word.strip() for word in words):
        raise InvalidParameter(name, f"`{name}` cannot contain an empty string.")
    return words


def token_ids(name: str, value: list[int] | None, max_ids: int | None = None) -> tuple[int, ...]:
    """Token ids as they were given; without `max_ids` any number of them.

    Raises:
        InvalidParameter: one is negative, or there are more than `max_ids`.
    """
    if max_ids is not None:
        require_few(name, value or (), max_ids, "token ids")
    for token_id in value or ():
        if token_id < 0:
            raise InvalidParameter(name, f"Token ids in `{name}` must be at least 0, got {token_id}.")
    return tuple(value or ())


def token_biases(
    name: str, value: dict[str, float] | None, bound: float, max_ids: int
) -> tuple[tuple[int, float], ...]:
    """Pairs of token id and bias from an object whose keys are token ids in decimal.

    Raises:
        InvalidParameter: more than `max_ids`, a key is no token id, or a bias is not in [-bound, bound].
    """
    require_few(name, value or (), max_ids, "token ids")
    biases = []
    for key, bias in (value or {}).items():
        if not _TOKEN_ID.match(key):
            raise InvalidParameter(name, f"The keys of `{name}` must be token ids, got {key!r}.")
        require_between(f"{name}.{key}", bias, -bound, bound)
        biases.append((int(key), bias))
    return tuple(biases)


def cache_salt(name: str, value: str | None) -> str:
    """What sets a request's cached prompt apart; empty shares it with all others that give none.

    Raises:
        InvalidParameter: an empty salt, which protects nothing, or one that is too long.
    """
    if value is None:
        return ""
    if not 1 <= len(value) <= _MAX_CACHE_SALT:
        raise InvalidParameter(name, f"`{name}` must have 1 to {_MAX_CACHE_SALT} characters, but has {len(value)}.")
    return value
