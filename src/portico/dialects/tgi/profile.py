"""The flavours of this dialect: TGI as it is, TGI without what its users complain of, and MindIE's imitation of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from portico.core.dialect import Reply
from portico.core.errors import PorticoError
from portico.dialects.tgi import errors


@dataclass(frozen=True, slots=True)
class Profile:
    """What differs between them, and what TGI's launcher sets.

    Attributes:
        tells_errors_in_stream: once the body of a stream's request is read, every error is an event under status 200.
        stops_at_token_end: a stop string counts only where a token ends with it; else at any position.
        length_wins: a choice that ends with its last possible token has ended for its length, whatever that token is.
        takes_neutral: values that turn a setting off are taken (`temperature` 0, `top_p` 1); else they are refused.
        default_max_new_tokens: None is as many as fit.
        echoes_on_root: the prompt stands before the text of `POST /` unless excluded.
        separator: what stands between the prompt and the text.
        has_token_lists: tokens are told as MindIE does: several in one event, by their ids only.
        max_best_of: `best_of` at most; None is the server's limit.
        max_stop_sequences: stop strings at most; None is the server's limit.
        max_top_n_tokens: `top_n_tokens` at most; None is the server's limit.
        max_client_batch_size: prompts of one completion at most; None is as many as run at once.
        needs_json_type: bodies must say that they are JSON.
        compute_type: what the model runs on, for the header of that name.
        has_v1: the OpenAI routes are TGI's.
        fingerprint: what answers of those routes call the server.
        refuse: the answer to a request that failed.
        encode_error: the object of an error, as it stands in a stream.
    """

    tells_errors_in_stream: bool
    stops_at_token_end: bool
    length_wins: bool
    takes_neutral: bool
    default_max_new_tokens: int | None
    echoes_on_root: bool
    separator: str
    has_token_lists: bool
    max_best_of: int | None
    max_stop_sequences: int | None
    max_top_n_tokens: int | None
    max_client_batch_size: int | None
    refuse: Callable[[PorticoError], Reply]
    encode_error: Callable[[PorticoError], bytes]
    needs_json_type: bool
    compute_type: str = "cpu+optimized"
    has_v1: bool = False
    fingerprint: str = "portico-native"


STRICT = Profile(
    tells_errors_in_stream=True,
    stops_at_token_end=True,
    length_wins=True,
    takes_neutral=False,
    default_max_new_tokens=None,
    echoes_on_root=True,
    separator="",
    has_token_lists=False,
    max_best_of=2,
    max_stop_sequences=4,
    max_top_n_tokens=5,
    max_client_batch_size=4,
    refuse=errors.refuse,
    encode_error=errors.encode,
    needs_json_type=True,
)
"""TGI 3.3.7 with its launcher's defaults, and with `--enable-prefill-logprobs`."""

V1 = replace(STRICT, has_v1=True)
"""The same with its OpenAI routes."""

IMPROVED = Profile(
    tells_errors_in_stream=False,
    stops_at_token_end=False,
    length_wins=False,
    takes_neutral=False,
    default_max_new_tokens=None,
    echoes_on_root=True,
    separator="",
    has_token_lists=False,
    max_best_of=None,
    max_stop_sequences=None,
    max_top_n_tokens=None,
    max_client_batch_size=None,
    refuse=errors.refuse,
    encode_error=errors.encode,
    needs_json_type=True,
)
"""Errors keep their status before a stream starts, stop strings match at any position, limits are the server's."""

MINDIE = Profile(
    tells_errors_in_stream=False,
    stops_at_token_end=False,
    length_wins=False,
    takes_neutral=True,
    default_max_new_tokens=20,
    echoes_on_root=False,
    separator=" ",
    has_token_lists=True,
    max_best_of=None,
    max_stop_sequences=None,
    max_top_n_tokens=None,
    max_client_batch_size=None,
    refuse=errors.refuse_mindie,
    encode_error=errors.encode_mindie,
    needs_json_type=False,
)
"""The TGI routes of MindIE Service."""
