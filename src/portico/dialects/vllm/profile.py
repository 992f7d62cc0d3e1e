"""Two servers speak this wire: vLLM's own demonstration server, and MindIE's imitation of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from portico.core.dialect import Reply
from portico.core.errors import PorticoError
from portico.dialects.vllm import errors


@dataclass(frozen=True, slots=True)
class Profile:
    """What differs between them.

    Attributes:
        default_max_tokens: None is up to the end of the context.
        max_temperature: None is no limit.
        is_greedy_by_default: without temperature, top_k and top_p nothing is drawn.
        returns_all_ranked: an answer that is not streamed has all `best_of` choices, the likeliest first.
        separator: what stands between the prompt and the output in an answer that is not streamed.
        repeats_text: a streamed object has prompt and output so far, instead of what is new.
        delimiter: what ends a streamed object.
        stream_media_type: of streamed answers.
        refuse: the answer to a request that failed.
        trusts_chat_template: requests may bring a chat template.
        tokenizer_info: what clients are told of the tokenizer; None is nothing.
    """

    default_max_tokens: int | None
    max_temperature: float | None
    is_greedy_by_default: bool
    returns_all_ranked: bool
    separator: str
    repeats_text: bool
    delimiter: bytes
    stream_media_type: str
    refuse: Callable[[PorticoError], Reply]
    trusts_chat_template: bool
    tokenizer_info: Mapping[str, str] | None = None


UPSTREAM = Profile(
    default_max_tokens=16,
    max_temperature=2.0,
    is_greedy_by_default=False,
    returns_all_ranked=False,
    separator="",
    repeats_text=True,
    delimiter=b"\n",
    stream_media_type="application/x-ndjson",
    refuse=errors.refuse_upstream,
    trusts_chat_template=False,
)

MINDIE = Profile(
    default_max_tokens=None,
    max_temperature=None,
    is_greedy_by_default=True,
    returns_all_ranked=True,
    separator=" ",
    repeats_text=False,
    delimiter=b"\0",
    stream_media_type="text/event-stream",
    refuse=errors.refuse_mindie,
    trusts_chat_template=False,
)
