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
from portico.dialects.mindie import (
    cluster,
    control,
    decode,
    errors,
    forms,
    health,
    ledgers,
    metadata,
    probes,
    tokenizer,
)
from portico.dialects.mindie.metrics import METRIC_ALIASES

_MODEL = "/v2/models/{model:path}"
_NO_ROLES = "Prefill and decode are not on different machines: the one instance does both and has no role."
_NO_ADAPTERS = "Adapters cannot be loaded: the model is served as its checkpoint is."
_NO_ORDERS = "The engine takes no orders: after a fault it starts again by itself."
_ROUTES = (
    Route("POST", "/infer", Generate(decode.decode_infer), form=forms.INFER),
    Route("POST", "/infer_token", Generate(decode.decode_infer), form=forms.INFER),
    Route("POST", "/v1/tokenizer", Tokenize(tokenizer.decode_tokenizer), form=forms.TOKENIZER),
    Route("GET", "/v1/config", Describe(metadata.describe_config)),
    Route("GET", "/health/timed", Generate(health.decode_timed), form=forms.TIMED),
    Route("GET", "/health/timed-{seconds}", Generate(health.decode_timed), form=forms.TIMED),
    Route("GET", f"{_MODEL}/getSlotCount", Describe(metadata.describe_slots)),
    Route("POST", f"{_MODEL}/stopInfer", Stop(control.decode_stop), form=forms.STOP),
    Route("GET", "/metrics-json", Describe(metadata.describe_metrics, adds_up_tenants=True)),
    Route("GET", "/v2", Describe(metadata.describe_server)),
    Route("GET", f"{_MODEL}/config", Describe(metadata.describe_model_config)),
    Route("GET", "/health", Describe(probes.describe_ready), is_open=True, form=forms.PROBE),
    Route("GET", "/v2/health/live", Describe(probes.describe_live), is_open=True, form=forms.PROBE),
    Route("GET", "/v2/health/ready", Describe(probes.describe_ready), is_open=True, form=forms.PROBE),
    Route("GET", f"{_MODEL}/ready", Describe(probes.describe_model_ready), form=forms.PROBE),
    Route("GET", "/v1/status", Describe(cluster.describe_status)),
    Route("GET", "/v2/status", Describe(cluster.describe_status_v2)),
    Route("GET", "/v1/engine-server/running-status", Describe(cluster.describe_running)),
    Route("POST", "/v1/engine-server/fault-handling-command", Describe(cluster.refuse(_NO_ORDERS)), form=forms.ORDER),
    Route("POST", "/v1/role/{role}", Describe(cluster.refuse(_NO_ROLES)), form=forms.ORDER),
    Route("POST", "/v2/role/{role}", Describe(cluster.refuse(_NO_ROLES)), form=forms.ORDER),
    Route("GET", "/dresult", Describe(cluster.refuse(_NO_ROLES)), form=forms.ORDER),
    Route("POST", "/v1/load_lora_adapter", Describe(cluster.refuse(_NO_ADAPTERS)), form=forms.ORDER),
    Route("POST", "/v1/unload_lora_adapter", Describe(cluster.refuse(_NO_ADAPTERS)), form=forms.ORDER),
    Route("GET", "/stopService", Shutdown(control.decode_shutdown), is_for_operators=True, form=forms.SHUTDOWN),
    # Last: it takes every unknown path below a model's for the name of another.
    Route("GET", _MODEL, Describe(metadata.describe_model)),
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
