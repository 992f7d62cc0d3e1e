"""Log-probabilities in the shapes of the OpenAI API, and in the one that open servers add for prompts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portico.core.events import Alternative, Token


def chat_logprobs(tokens: Iterable[Token], by_id: bool) -> dict[str, Any]:
    """The `logprobs` of a chat choice: every token alone, with its bytes."""
    return {"content": [_chat_place(token, by_id) for token in tokens], "refusal": None}


def response_logprobs(tokens: Iterable[Token]) -> list[dict[str, Any]]:
    """The `logprobs` of a text in a response; empty where none were asked for."""
    return [_chat_place(token, by_id=False) for token in tokens if token.logprob is not None]


def legacy_logprobs(
    tokens: Iterable[Token], offset: int, *, skips_special: bool, num_best: int, by_id: bool
) -> tuple[dict[str, Any], int]:
    """The `logprobs` of a completion, and the offset after them.

    Offsets are in characters of the text; tokens that `skips_special` keeps out of it have no width.
    """
    offsets = []
    given = list(tokens)
    for token in given:
        offsets.append(offset)
        offset += 0 if token.special and skips_special else len(token.text)
    shape = {
        "tokens": [_legacy_name(token, by_id) for token in given],
        "token_logprobs": [token.logprob for token in given],
        "top_logprobs": [_legacy_top(token, num_best, by_id) for token in given],
        "text_offset": offsets,
    }
    return shape, offset


def prompt_logprobs(tokens: Iterable[Token], num_best: int) -> list[dict[str, Any] | None]:
    """The `prompt_logprobs` of open servers: per place the token that stands there and the best ones, by id."""
    return [None if token.logprob is None else _prompt_entry(token, num_best) for token in tokens]


def _prompt_entry(token: Token, num_best: int) -> dict[str, Any]:
    best = {each.id: _ranked(each, rank) for rank, each in enumerate(token.alternatives, 1)}
    entry = {str(token.id): best.get(token.id) or _ranked(token, token.rank)}
    for alternative in token.alternatives[:num_best]:
        entry.setdefault(str(alternative.id), best[alternative.id])
    return entry


def _ranked(token: Token | Alternative, rank: int | None) -> dict[str, Any]:
    return {"logprob": token.logprob, "rank": rank, "decoded_token": token.raw.decode("utf-8", "replace")}


def _chat_place(token: Token, by_id: bool) -> dict[str, Any]:
    top = [_chat_entry(alternative, by_id) for alternative in token.alternatives]
    return {**_chat_entry(token, by_id), "top_logprobs": top}


def _chat_entry(token: Token | Alternative, by_id: bool) -> dict[str, Any]:
    name = f"token_id:{token.id}" if by_id else token.raw.decode("utf-8", "replace")
    return {"token": name, "logprob": token.logprob, "bytes": list(token.raw)}


def _legacy_top(token: Token, num_best: int, by_id: bool) -> dict[str, float] | None:
    """The most likely tokens and the one that stands there; nothing is known of the first token of a prompt."""
    if token.logprob is None:
        return None
    top = {_legacy_name(each, by_id): each.logprob for each in token.alternatives[:num_best]}
    top.setdefault(_legacy_name(token, by_id), token.logprob)
    return top


def _legacy_name(token: Token | Alternative, by_id: bool) -> str:
    """The text of the token alone; part of a character is written in hexadecimal, else it would share a key."""
    if by_id:
        return f"token_id:{token.id}"
    try:
        return token.raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.raw)
