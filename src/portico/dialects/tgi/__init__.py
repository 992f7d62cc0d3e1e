"""The dialect of Text Generation Inference 3, as its native routes speak it, and MindIE's flavour of it.

TGI's flavour of the OpenAI routes is there where the profile says so.

Beyond it: unknown fields are refused; `ignore_eos`, `min_new_tokens` and prompt log-probabilities without a flag.

Source: TGI 3.3.7's router and its documentation; MindIE Service's EndPoint API, TGI interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from portico.core.dialect import Claim, Describe, Dialect, Generate, MetricAlias, RawRequest, Reply, Route, Tokenize
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.tgi import decode, errors, forms, ledgers, metadata, tokens, vertex
from portico.dialects.tgi.metrics import METRIC_ALIASES
from portico.dialects.tgi.profile import IMPROVED as IMPROVED
from portico.dialects.tgi.profile import MINDIE as MINDIE
from portico.dialects.tgi.profile import STRICT as STRICT
from portico.dialects.tgi.profile import V1 as V1
from portico.dialects.tgi.profile import Profile as Profile
from portico.dialects.tgi.v1 import decode as v1
from portico.dialects.tgi.v1.ledgers import ALL as V1_LEDGERS
from portico.dialects.tgi.v1.models import list_models

_CLAIM = Claim(decode.claims, "`inputs`")
_INVOCATION_CLAIM = Claim(v1.claims_invocation, "`inputs`, `messages` or `prompt`")
_HEALTH = Describe(metadata.describe_health)


def _routes(profile: Profile) -> Iterator[Route]:
    on_root = Generate(partial(decode.decode_root, profile=profile))
    in_stream = errors.refuse_always_in_stream if profile.tells_errors_in_stream else None
    in_asked_stream = errors.refuse_in_asked_stream if profile.tells_errors_in_stream else None
    post = partial(Route, "POST", needs_json_type=profile.needs_json_type)
    yield post("/generate", Generate(partial(decode.decode_generate, profile=profile)), _CLAIM, form=forms.GENERATE)
    on_stream = Generate(partial(decode.decode_generate_stream, profile=profile))
    yield post("/generate_stream", on_stream, refuse=in_stream, form=forms.GENERATE_STREAM)
    yield post("/", on_root, refuse=in_asked_stream, form=forms.ROOT)
    if profile.has_v1:
        yield from _v1_routes(profile)
    else:
        yield post("/invocations", on_root, _CLAIM, refuse=in_asked_stream, form=forms.ROOT)
    yield post("/vertex", Generate(partial(vertex.decode_vertex, profile=profile)), form=forms.VERTEX_FORM)
    yield post("/tokenize", Tokenize(partial(tokens.decode_tokenize, profile=profile)), _CLAIM, form=forms.TOKENIZE)
    yield post("/chat_tokenize", Tokenize(tokens.decode_chat_tokenize), form=forms.CHAT_TOKENIZE)
    for path in ("/", "/health", "/ping"):
        yield Route("GET", path, _HEALTH, is_open=True, form=forms.HEALTH)
    yield Route("GET", "/info", Describe(partial(metadata.describe_info, profile=profile)))


def _v1_routes(profile: Profile) -> Iterator[Route]:
    in_chunks = errors.refuse_in_asked_chunks if profile.tells_errors_in_stream else None
    in_either = _refuse_invocation if profile.tells_errors_in_stream else None
    post = partial(Route, "POST", needs_json_type=profile.needs_json_type)
    chat = Generate(partial(v1.decode_chat, profile=profile))
    completion = Generate(partial(v1.decode_completion, profile=profile))
    invocation = Generate(partial(v1.decode_invocation, profile=profile))
    yield post("/v1/chat/completions", chat, refuse=in_chunks, form=forms.CHAT)
    yield post("/v1/completions", completion, refuse=in_chunks, form=forms.COMPLETION)
    yield post("/invocations", invocation, _INVOCATION_CLAIM, refuse=in_either, form=forms.INVOCATION)
    yield Route("GET", "/v1/models", Describe(list_models))


def _refuse_invocation(raw: RawRequest, error: PorticoError) -> Reply:
    is_native = decode.claims(raw.body)
    return errors.refuse_in_asked_stream(raw, error) if is_native else errors.refuse_in_asked_chunks(raw, error)


@dataclass(frozen=True, slots=True)
class _Tgi:
    profile: Profile
    routes: tuple[Route, ...]
    ledgers: tuple[Ledger, ...]
    name: str = "tgi"
    title: str = "TGI"
    prefixes: tuple[str, ...] = ()
    metric_aliases: tuple[MetricAlias, ...] = METRIC_ALIASES

    def refuse(self, error: PorticoError) -> Reply:
        return self.profile.refuse(error)


def dialect(profile: Profile = STRICT) -> Dialect:
    """The dialect in one flavour."""
    own = (*ledgers.ALL, vertex.VERTEX, vertex.INSTANCE)
    return _Tgi(profile, tuple(_routes(profile)), (*own, *V1_LEDGERS) if profile.has_v1 else own)
