"""The native dialect of MindIE Service: the paths that are its own.

Its other paths are those of other servers and are answered by their dialects. Beyond MindIE Service: stop strings,
penalties and `typical_p` are honoured, `stop_sequence` tells of stop strings, errors within a stream are events.

Source: MindIE Service's EndPoint API, and the source code of MindIE-LLM 3.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import Describe, Dialect, Generate, MetricAlias, Reply, Route, Shutdown, Stop, Tokenize
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.mindie import control, decode, errors, health, ledgers, metadata, tokenizer
from portico.dialects.mindie.metrics import METRIC_ALIASES

_MODEL = "/v2/models/{model:path}"
_ROUTES = (
    Route("POST", "/infer", Generate(decode.decode_infer)),
    Route("POST", "/infer_token", Generate(decode.decode_infer)),
    Route("POST", "/v1/tokenizer", Tokenize(tokenizer.decode_tokenizer)),
    Route("GET", "/v1/config", Describe(metadata.describe_config)),
    Route("GET", "/health/timed", Generate(health.decode_timed)),
    Route("GET", "/health/timed-{seconds}", Generate(health.decode_timed)),
    Route("GET", f"{_MODEL}/getSlotCount", Describe(metadata.describe_slots)),
    Route("POST", f"{_MODEL}/stopInfer", Stop(control.decode_stop)),
    Route("GET", "/metrics-json", Describe(metadata.describe_metrics)),
    Route("GET", "/stopService", Shutdown(control.decode_shutdown), is_for_operators=True),
)


@dataclass(frozen=True, slots=True)
class _Mindie:
    name: str
    title: str
    routes: tuple[Route, ...]
    prefixes: tuple[str, ...]
    ledgers: tuple[Ledger, ...]
    metric_aliases: tuple[MetricAlias, ...]

    def refuse(self, error: PorticoError) -> Reply:
        return errors.refuse(error)


def dialect() -> Dialect:
    """The native paths of MindIE Service 3."""
    return _Mindie(
        name="mindie", title="MindIE", routes=_ROUTES, prefixes=(), ledgers=ledgers.ALL, metric_aliases=METRIC_ALIASES
    )
