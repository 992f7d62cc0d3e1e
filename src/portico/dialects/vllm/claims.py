"""How this dialect's requests are recognised on paths that it shares with others."""

from __future__ import annotations

import msgspec

from portico.dialects.vllm.schema import Kind

_decoder = msgspec.json.Decoder(Kind)


def has_prompt(body: bytes) -> bool:
    """Whether the body is a JSON object with a `prompt` that is not null."""
    kind = _read(body)
    return kind is not None and kind.prompt is not msgspec.UNSET and bytes(kind.prompt) != b"null"


def has_prompt_or_messages(body: bytes) -> bool:
    """Whether the body is a JSON object with a `prompt` or with `messages`."""
    kind = _read(body)
    return kind is not None and (kind.prompt is not msgspec.UNSET or kind.messages is not msgspec.UNSET)


def _read(body: bytes) -> Kind | None:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
