"""The dialect of Text Generation Inference 3, as its native routes speak it.

Beyond it: requests are refused with their status before a stream starts, where TGI starts the stream first; stop
strings match at any position; unknown fields are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import Claim, Describe, Dialect, Generate, MetricAlias, Reply, Route
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.tgi import decode, errors, ledgers, metadata

_HEALTH = Describe(metadata.describe_health)
_ROUTES = (
    Route("POST", "/generate", Generate(decode.decode_generate), Claim(decode.claims, "`inputs`")),
    Route("POST", "/generate_stream", Generate(decode.decode_generate_stream)),
    Route("POST", "/", Generate(decode.decode_root)),
    Route("GET", "/", _HEALTH),
    Route("GET", "/health", _HEALTH),
    Route("GET", "/ping", _HEALTH),
    Route("GET", "/info", Describe(metadata.describe_info)),
)
_LEDGERS = (ledgers.GENERATE, ledgers.GENERATE_STREAM, ledgers.ROOT, ledgers.PARAMETERS)


@dataclass(frozen=True, slots=True)
class _Tgi:
    name: str
    title: str
    routes: tuple[Route, ...]
    prefixes: tuple[str, ...]
    ledgers: tuple[Ledger, ...]
    metric_aliases: tuple[MetricAlias, ...] = ()

    def refuse(self, error: PorticoError) -> Reply:
        return errors.refuse(error)


def dialect() -> Dialect:
    """TGI 3 with its default launch options and prompt logprobs enabled."""
    return _Tgi(name="tgi", title="TGI", routes=_ROUTES, prefixes=(), ledgers=_LEDGERS)
