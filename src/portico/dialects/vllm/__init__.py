"""The vLLM dialect: `POST /generate` of its demonstration server, and its routes about tokens and the server.

Its OpenAI-compatible routes are with the others of that API, its additional fields included.

Source: vLLM's examples and API server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from portico.core.dialect import Claim, Describe, Detokenize, Dialect, Generate, MetricAlias, Reply, Route, Tokenize
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.vllm import forms
from portico.dialects.vllm.claims import has_prompt, has_prompt_or_messages
from portico.dialects.vllm.decode import decode_generate
from portico.dialects.vllm.ledgers import DETOKENIZE, GENERATE, GUIDED_DECODING, STRUCTURED_OUTPUTS, TOKENIZE
from portico.dialects.vllm.metrics import METRIC_ALIASES
from portico.dialects.vllm.metrics import METRICS as METRICS
from portico.dialects.vllm.profile import MINDIE as MINDIE
from portico.dialects.vllm.profile import UPSTREAM as UPSTREAM
from portico.dialects.vllm.profile import Profile as Profile
from portico.dialects.vllm.server import health, load, tokenizer_info, version
from portico.dialects.vllm.tokens import decode_detokenize, decode_tokenize

_CLAIM = Claim(has_prompt, "`prompt`")
_TOKENIZE_CLAIM = Claim(has_prompt_or_messages, "`prompt` or `messages`")


@dataclass(frozen=True, slots=True)
class Vllm:
    """The dialect as the server knows it, in one profile."""

    profile: Profile
    routes: tuple[Route, ...]
    name: str = "vllm"
    title: str = "vLLM"
    prefixes: tuple[str, ...] = ()
    ledgers: tuple[Ledger, ...] = (GENERATE, TOKENIZE, DETOKENIZE, STRUCTURED_OUTPUTS, GUIDED_DECODING)

    metric_aliases: tuple[MetricAlias, ...] = METRIC_ALIASES

    def refuse(self, error: PorticoError) -> Reply:
        """The error in the profile's shape, with its status."""
        return self.profile.refuse(error)


def dialect(profile: Profile = UPSTREAM) -> Dialect:
    """The dialect, as vLLM or as MindIE speaks it."""
    return Vllm(
        profile,
        (
            Route(
                "POST",
                "/generate",
                Generate(partial(decode_generate, profile=profile)),
                _CLAIM,
                form=forms.generate(profile),
            ),
            Route(
                "POST",
                "/tokenize",
                Tokenize(partial(decode_tokenize, profile=profile)),
                _TOKENIZE_CLAIM,
                needs_json_type=True,
                form=forms.TOKENIZE,
            ),
            Route("POST", "/detokenize", Detokenize(decode_detokenize), needs_json_type=True, form=forms.DETOKENIZE),
            Route("GET", "/load", Describe(load)),
            Route("GET", "/health", Describe(health), is_open=True, form=forms.HEALTH),
            Route("GET", "/ping", Describe(health), is_open=True, form=forms.HEALTH),
            Route("POST", "/ping", Describe(health), is_open=True, form=forms.HEALTH),
            Route("GET", "/version", Describe(version)),
            *_tokenizer_info(profile),
        ),
    )


def _tokenizer_info(profile: Profile) -> Iterator[Route]:
    """Chat templates can tell more of an operator than clients need to know, so the path is there on demand alone."""
    if profile.tokenizer_info is not None:
        yield Route("GET", "/tokenizer_info", Describe(partial(tokenizer_info, profile.tokenizer_info)))
