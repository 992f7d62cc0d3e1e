"""The dialect of Triton Inference Server's protocols over HTTP and gRPC, for a model that generates text.

The names of fields are those of the vLLM backend, of the TensorRT-LLM ensembles, of the open inference protocol and of
MindIE Service together. Beyond them: models can be listed, and unknown fields are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from portico.core.dialect import Describe, Dialect, Generate, MetricAlias, Operation, Reply, Route
from portico.core.errors import PorticoError
from portico.core.form import Form
from portico.core.ledger import Ledger
from portico.core.rpc import RpcDialect
from portico.dialects.triton import errors, forms, ledgers, metadata, settings
from portico.dialects.triton.decode import Decoder
from portico.dialects.triton.grammar import STRUCTURED_OUTPUTS
from portico.dialects.triton.infer_http import decode_infer
from portico.dialects.triton.metrics import METRICS
from portico.dialects.triton.profile import DEFAULT, MINDIE, Profile

__all__ = ["DEFAULT", "METRICS", "MINDIE", "Profile", "dialect", "rpc_dialect"]

_MODEL = "/v2/models/{model:path}"
_VERSION = f"{_MODEL}/versions/{{version}}"


def _routes(profile: Profile) -> Iterator[Route]:
    decoder = Decoder(profile)
    yield Route("GET", "/v2", Describe(metadata.describe_server))
    yield Route("GET", "/v2/", Describe(metadata.describe_server))
    yield Route("GET", "/v2/health/live", Describe(metadata.describe_live), is_open=True, form=forms.EMPTY)
    yield Route("GET", "/v2/health/ready", Describe(metadata.describe_ready), is_open=True, form=forms.PROBE)
    yield Route("GET", "/v2/models", Describe(metadata.describe_models))
    yield Route("GET", "/v2/models/stats", Describe(metadata.describe_statistics, adds_up_tenants=True))
    yield Route("POST", "/v2/repository/index", Describe(metadata.describe_index), form=forms.INDEX)
    yield Route(
        "POST", "/v2/repository/{repository}/index", Describe(metadata.refuse_repository), form=forms.NO_REPOSITORY
    )
    for action in ("load", "unload"):
        path = f"models/{{model:path}}/{action}"
        yield Route("POST", f"/v2/repository/{path}", Describe(metadata.refuse_control), form=forms.NO_CONTROL)
        yield Route(
            "POST",
            f"/v2/repository/{{repository}}/{path}",
            Describe(metadata.refuse_repository),
            form=forms.NO_REPOSITORY,
        )
    for kind in ("system", "cuda"):
        of_region = f"/v2/{kind}sharedmemory/region/{{region}}"
        for path in (f"/v2/{kind}sharedmemory", of_region):
            yield Route("GET", f"{path}/status", Describe(metadata.describe_regions))
            yield Route("POST", f"{path}/unregister", Describe(metadata.forget_regions), form=forms.EMPTY)
        yield Route("POST", f"{of_region}/register", Describe(metadata.refuse_region), form=forms.NO_REGION)
    for method, form in (("GET", Form()), ("POST", forms.SETTINGS)):
        yield Route(method, "/v2/logging", Describe(settings.describe_logging), form=form)
        yield Route(method, "/v2/trace/setting", Describe(settings.describe_tracing), form=form)
        yield Route(method, f"{_MODEL}/trace/setting", Describe(settings.describe_tracing), form=form)
    of_model: tuple[tuple[str, str, Operation, Form], ...] = (
        ("POST", "/generate", Generate(decoder.decode_generate), forms.GENERATE),
        ("POST", "/generate_stream", Generate(decoder.decode_generate_stream), forms.GENERATE_STREAM),
        ("POST", "/infer", Generate(partial(decode_infer, decoder)), forms.INFER),
        ("GET", "/ready", Describe(metadata.describe_model_ready), forms.MODEL_PROBE),
        ("GET", "/config", Describe(metadata.describe_config), forms.MODEL),
        ("GET", "/stats", Describe(metadata.describe_statistics, adds_up_tenants=True), forms.MODEL),
    )
    for method, action, operation, form in of_model:
        # The versioned path comes first, since a model's name may hold slashes.
        yield Route(method, _VERSION + action, operation, form=form)
        yield Route(method, _MODEL + action, operation, form=form)
    yield Route("GET", _VERSION, Describe(metadata.describe_model), form=forms.MODEL)
    # Last: it takes every unknown path below a model's for the name of another.
    yield Route("GET", _MODEL, Describe(metadata.describe_model), form=forms.MODEL)


@dataclass(frozen=True, slots=True)
class _Triton:
    profile: Profile
    name: str
    title: str
    routes: tuple[Route, ...]
    prefixes: tuple[str, ...]
    ledgers: tuple[Ledger, ...]
    metric_aliases: tuple[MetricAlias, ...] = ()

    def refuse(self, error: PorticoError) -> Reply:
        return errors.refuse(error, self.profile.errors)


def dialect(profile: Profile = DEFAULT) -> Dialect:
    """Triton's HTTP protocol in one flavour."""
    return _Triton(
        profile=profile,
        name="triton",
        title="Triton",
        routes=tuple(_routes(profile)),
        prefixes=("/v2",),
        ledgers=(ledgers.GENERATE, ledgers.INFER, ledgers.INFER_FIELDS, STRUCTURED_OUTPUTS),
    )


def rpc_dialect(profile: Profile = DEFAULT) -> RpcDialect:
    """Triton's gRPC protocol in one flavour; the library for its messages is loaded only where it is served."""
    from portico.dialects.triton.rpc import build_rpc_dialect

    return build_rpc_dialect(profile)
