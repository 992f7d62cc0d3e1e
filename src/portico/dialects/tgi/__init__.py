"""The dialect of Text Generation Inference 3, as its native routes speak it, and MindIE's flavour of it.

Beyond it: unknown fields are refused; `ignore_eos`, `min_new_tokens` and prompt log-probabilities without a flag.

Source: TGI 3.3.7's router and its documentation; MindIE Service's EndPoint API, TGI interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from portico.core.dialect import Claim, Describe, Dialect, Generate, MetricAlias, Reply, Route, Tokenize
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.tgi import decode, errors, ledgers, metadata, tokens
from portico.dialects.tgi.metrics import METRIC_ALIASES
from portico.dialects.tgi.profile import IMPROVED as IMPROVED
from portico.dialects.tgi.profile import MINDIE as MINDIE
from portico.dialects.tgi.profile import STRICT as STRICT
from portico.dialects.tgi.profile import Profile as Profile

_CLAIM = Claim(decode.claims, "`inputs`")
_HEALTH = Describe(metadata.describe_health)


def _routes(profile: Profile) -> Iterator[Route]:
    on_root = Generate(partial(decode.decode_root, profile=profile))
    in_stream = errors.refuse_always_in_stream if profile.tells_errors_in_stream else None
    in_asked_stream = errors.refuse_in_asked_stream if profile.tells_errors_in_stream else None
    post = partial(Route, "POST", needs_json_type=profile.needs_json_type)
    yield post("/generate", Generate(partial(decode.decode_generate, profile=profile)), _CLAIM)
    yield post("/generate_stream", Generate(partial(decode.decode_generate_stream, profile=profile)), refuse=in_stream)
    yield post("/", on_root, refuse=in_asked_stream)
    yield post("/invocations", on_root, _CLAIM, refuse=in_asked_stream)
    yield post("/tokenize", Tokenize(partial(tokens.decode_tokenize, profile=profile)), _CLAIM)
    yield post("/chat_tokenize", Tokenize(tokens.decode_chat_tokenize))
    for path in ("/", "/health", "/ping"):
        yield Route("GET", path, _HEALTH, is_open=True)
    yield Route("GET", "/info", Describe(partial(metadata.describe_info, profile=profile)))


@dataclass(frozen=True, slots=True)
class _Tgi:
    profile: Profile
    routes: tuple[Route, ...]
    name: str = "tgi"
    title: str = "TGI"
    prefixes: tuple[str, ...] = ()
    ledgers: tuple[Ledger, ...] = ledgers.ALL
    metric_aliases: tuple[MetricAlias, ...] = METRIC_ALIASES

    def refuse(self, error: PorticoError) -> Reply:
        return self.profile.refuse(error)


def dialect(profile: Profile = STRICT) -> Dialect:
    """The dialect in one flavour."""
    return _Tgi(profile, tuple(_routes(profile)))
