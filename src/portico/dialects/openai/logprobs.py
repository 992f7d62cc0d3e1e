"""Log-probabilities in the two shapes of the OpenAI API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portico.core.events import Alternative, Token


def chat_logprobs(tokens: Iterable[Token]) -> dict[str, Any]:
    """The `logprobs` of a chat choice: every token alone, with its bytes."""
    content = [{**_chat_entry(token), "top_logprobs": list(map(_chat_entry, token.alternatives))} for token in tokens]
    return {"content": content, "refusal": None}


def legacy_logprobs(tokens: Iterable[Token], offset: int, skips_special: bool) -> tuple[dict[str, Any], int]:
    """The `logprobs` of a completion, and the offset after them.

    Offsets are in characters of the text; tokens that `skips_special` keeps out of it have no width.
    """
    offsets = []
    given = list(tokens)
    for token in given:
        offsets.append(offset)
        offset += 0 if token.special and skips_special else len(token.text)
    shape = {
        "tokens": [_legacy_name(token) for token in given],
        "token_logprobs": [token.logprob for token in given],
        "top_logprobs": [_legacy_top(token) for token in given],
        "text_offset": offsets,
    }
    return shape, offset


def _chat_entry(token: Token | Alternative) -> dict[str, Any]:
    return {"token": token.raw.decode("utf-8", "replace"), "logprob": token.logprob, "bytes": list(token.raw)}


def _legacy_top(token: Token) -> dict[str, float] | None:
    """The most likely tokens and the one that stands there; nothing is known of the first token of a prompt."""
    if token.logprob is None:
        return None
    top = {_legacy_name(alternative): alternative.logprob for alternative in token.alternatives}
    top.setdefault(_legacy_name(token), token.logprob)
    return top


def _legacy_name(token: Token | Alternative) -> str:
    """The text of the token alone; part of a character is written in hexadecimal, else it would share a key."""
    try:
        return token.raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.raw)
