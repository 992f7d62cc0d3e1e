"""The composition root: the only module that knows every dialect, every engine and the web."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from portico import __version__
from portico.checkpoint import Checkpoint, read_sampling_defaults
from portico.config import ServerConfig
from portico.console import Console
from portico.core.dialect import Dialect
from portico.core.engine import Engine
from portico.core.model import NO_ADVICE, SamplingDefaults, ServerStatus
from portico.core.observer import Observers
from portico.core.rpc import RpcDialect
from portico.dialects import anthropic, mindie, openai, tgi, triton, vllm
from portico.dialects.mindie.config_file import FoundSettings as FoundSettings
from portico.dialects.mindie.config_file import MindieConfigError as MindieConfigError
from portico.dialects.mindie.config_file import read_mindie_config as read_mindie_config
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine import NativeEngine
from portico.engines.scripted.config import ScriptedConfig
from portico.engines.scripted.engine import ScriptedEngine
from portico.flags import FlagError
from portico.keys import KeyConfigError, Keys
from portico.service.admission import Admission
from portico.service.clocks import TimeLimits
from portico.service.conversion import ConversionService
from portico.service.generation import GenerationService
from portico.service.keyring import Keyring
from portico.service.preparation import Preparation
from portico.service.quota import Quotas
from portico.telemetry.latencies import Latencies
from portico.telemetry.logging import AccessLog, configure_logging
from portico.telemetry.metrics import Metrics
from portico.telemetry.statistics import Statistics
from portico.telemetry.status_metrics import StatusCollector
from portico.telemetry.tenant_metrics import TenantMetrics
from portico.text.answer_format import AnswerFormat
from portico.text.chat_template import ChatTemplate
from portico.text.literal_content import LiteralContent, check_literal_content
from portico.text.tokenizer import Tokenizer
from portico.text.tokenizer_info import describe_tokenizer
from portico.watched_files import WatchedFiles, watch
from portico.web.application import build_application
from portico.web.endpoint import Context
from portico.web.guard import Guard, is_loopback
from portico.web.intake import ConnectionLimits
from portico.web.page import Page
from portico.web.server import bind, serve, serving
from portico.web.shutdown import Drain, DrainingStopper
from portico.web.tls import Tls, TlsError, TlsFiles
from portico.web.wrong_keys import WrongKeys

EngineConfig = NativeConfig | ScriptedConfig

_logger = logging.getLogger(__name__)

_MODEL_PATH = "/v2/models/{model:path}"
# Who answers where several dialects have a path that tells them nothing apart.
_PRECEDENCE: Mapping[tuple[str, str], Sequence[str]] = {
    ("GET", "/health"): ("vllm", "tgi", "mindie"),
    ("GET", "/ping"): ("vllm", "tgi"),
    ("GET", "/v1/models"): ("openai", "tgi"),
    ("POST", "/v1/chat/completions"): ("openai", "tgi"),
    ("POST", "/v1/completions"): ("openai", "tgi"),
    ("POST", "/invocations"): ("openai", "tgi"),
    ("GET", "/v2"): ("triton", "mindie"),
    ("GET", "/v2/health/live"): ("triton", "mindie"),
    ("GET", "/v2/health/ready"): ("triton", "mindie"),
    ("GET", _MODEL_PATH): ("triton", "mindie"),
    ("GET", f"{_MODEL_PATH}/ready"): ("triton", "mindie"),
    ("GET", f"{_MODEL_PATH}/config"): ("triton", "mindie"),
}
# Open files of a server beside its clients' connections.
_SPARE_FILES = 64
_TGI_PROFILES = {"strict": tgi.STRICT, "improved": tgi.IMPROVED}


def build_dialects(
    config: ServerConfig,
    defaults: SamplingDefaults = NO_ADVICE,
    device: str = "cpu",
    tokenizer_info: Mapping[str, str] | None = None,
) -> tuple[Dialect, ...]:
    """All dialects, in the flavours of the configuration; the first one answers for paths that are nobody's.

    `tokenizer_info` is what clients are told of the tokenizer, if the operator lets them.
    """
    trusts_chat_template = config.trust_request_chat_template
    is_mindie = config.profile == "mindie"
    fingerprint = f"{__version__}-native"
    vllm_profile = vllm.MINDIE if is_mindie else vllm.UPSTREAM
    tgi_profile = tgi.MINDIE if is_mindie else _TGI_PROFILES[config.tgi_profile]
    tgi_profile = replace(tgi_profile, has_v1=config.profile == "tgi", fingerprint=fingerprint)
    return (
        openai.dialect(openai.Profile(defaults, trusts_chat_template)),
        vllm.dialect(replace(vllm_profile, trusts_chat_template=trusts_chat_template, tokenizer_info=tokenizer_info)),
        tgi.dialect(replace(tgi_profile, compute_type=f"{device}+optimized", **config.tgi_limits())),
        triton.dialect(triton.MINDIE if is_mindie else triton.DEFAULT),
        mindie.dialect(),
        anthropic.dialect(defaults),
    )


def find_precedence(profile: str) -> Mapping[tuple[str, str], Sequence[str]]:
    """Who answers where several dialects have a path: first the one that the profile is named after."""
    return {key: sorted(names, key=lambda name: name != profile) for key, names in _PRECEDENCE.items()}


def build_rpc_dialects(profile: str) -> tuple[RpcDialect, ...]:
    """The dialects that are also spoken as remote procedures, in the flavour of a profile."""
    return (triton.rpc_dialect(triton.MINDIE if profile == "mindie" else triton.DEFAULT),)


def build_engine(config: EngineConfig, path: Path, tokenizer: Tokenizer) -> Engine:
    """The engine of a configuration; the scripted one writes with the tokens that the tokenizer has."""
    if isinstance(config, ScriptedConfig):
        vocab_size = min(config.vocab_size, tokenizer.vocab_size)
        eos_token_id = min(tokenizer.special_ids, default=config.eos_token_id)
        return ScriptedEngine(replace(config, vocab_size=max(vocab_size, eos_token_id + 1), eos_token_id=eos_token_id))
    return NativeEngine(path, config, lambda: tokenizer.vocabulary)


class PublicAddress(Exception):
    """The server would be open to everybody; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class _StatusReport:
    """Gathers what metadata routes report, at the moment they are asked."""

    config: ServerConfig
    checkpoint: Checkpoint
    engine: Engine
    admission: Admission
    statistics: Statistics
    latencies: Latencies
    max_num_seqs: int
    started_at: int

    def __call__(self) -> ServerStatus:
        return ServerStatus(
            version=__version__,
            served=self.checkpoint.served,
            model=self.engine.info,
            limits=self.config.limits(self.max_num_seqs, self.engine.info.max_model_len),
            is_ready=self.engine.is_ready and not self.admission.is_closed,
            is_stopping=self.admission.is_closed,
            started_at=self.started_at,
            stats=self.engine.stats(),
            num_requests=self.admission.num_requests,
            counts=self.statistics.counts,
            latencies=self.latencies.means(),
            log_level=self.config.log_level,
        )


async def run(
    config: ServerConfig,
    engine_config: EngineConfig,
    checkpoint: Checkpoint,
    console: Console,
    keys: Keys | None = None,
) -> None:
    """Serves until told to stop, whoever has a key or, without keys, everybody.

    Raises:
        AddressInUse, PublicAddress, TlsError, TokenizerLoadError, ChatTemplateLoadError, EngineStartError, FlagError:
            what the operator must mend.
    """
    configure_logging(config.log_level, config.log_format)
    tls = _tls(config)
    keyring = None if keys is None else keys.keyring
    listeners = _Listeners.bind(config)
    if keyring is None and config.tls_client_ca is None and not config.allow_anonymous:
        listeners.require_loopback()
    tokenizer = Tokenizer.load(checkpoint.path)
    literal = LiteralContent(config.literal_content)
    override = Path(config.chat_template) if config.chat_template else None
    template = ChatTemplate.load(checkpoint.path, override, marks_own=literal is not LiteralContent.NONE)
    if literal is not LiteralContent.NONE:
        check_literal_content(tokenizer, template)
    answer_format = AnswerFormat.choose(config.tool_call_parser, config.reasoning_parser, template)
    _tell_format(answer_format, template)
    defaults = read_sampling_defaults(checkpoint.path) if config.generation_config == "auto" else NO_ADVICE
    engine_config = _with_context(engine_config, config.max_total_tokens)
    engine = build_engine(engine_config, checkpoint.path, tokenizer)
    try:
        try:
            await engine.start(console.show_progress)
        finally:
            console.end_progress()
        _require_fitting_prompts(config, engine.info.max_model_len)
        tokenizer_info = None
        if config.enable_tokenizer_info_endpoint:
            tokenizer_info = describe_tokenizer(checkpoint.path, tokenizer, template, engine.info.eos_token_ids)
        dialects = build_dialects(config, defaults, engine.info.device, tokenizer_info)
        admission = Admission(engine_config.max_num_seqs, config.max_waiting)
        statistics = Statistics()
        latencies = Latencies()
        get_status = _StatusReport(
            config, checkpoint, engine, admission, statistics, latencies, engine_config.max_num_seqs, int(time.time())
        )
        preparation = Preparation(tokenizer, template, config.max_input_tokens, literal)
        aliases = tuple(alias for dialect in dialects for alias in dialect.metric_aliases)
        status_metrics = StatusCollector(get_status, (*triton.METRICS, *vllm.METRICS))
        tenant_metrics = TenantMetrics()
        metrics = Metrics(checkpoint.served.name, engine.stats, aliases, [status_metrics, tenant_metrics])
        quotas = Quotas()
        generator = GenerationService(
            engine, tokenizer, preparation, checkpoint.served, admission, answer_format, _time_limits(config), quotas
        )
        context = Context(
            dialects=dialects,
            generator=generator,
            converter=ConversionService(engine, tokenizer, preparation, checkpoint.served, quotas),
            get_status=get_status,
            observer=Observers(metrics, tenant_metrics, statistics, latencies, AccessLog()),
            limits=config.limits(engine_config.max_num_seqs, engine.info.max_model_len),
            max_body_bytes=config.max_body_size,
            stopper=DrainingStopper(admission.close, lambda: admission.num_requests),
            guard=Guard(keyring, _allowed_hosts(config, listeners, keyring), _wrong_keys(config)),
            send_timeout=config.send_timeout or None,
        )
        drain = Drain(admission.close, lambda: admission.num_requests, generator.break_off, config.drain_timeout)
        watching = asyncio.create_task(watch(_watched(keys, tls)))
        try:
            await _listen(config, context, metrics, listeners, console, drain, tls)
        finally:
            watching.cancel()
    finally:
        await engine.close()
        listeners.close()


def _with_context(engine_config: EngineConfig, max_total_tokens: int | None) -> EngineConfig:
    """The engine's settings with the server's length of the context, where it was given.

    Raises:
        FlagError: the engine's settings have another one.
    """
    if max_total_tokens is None:
        return engine_config
    given = engine_config.max_model_len
    if given not in (max_total_tokens, type(engine_config)().max_model_len):
        raise FlagError(
            f"max_model_len ({given}) and max_total_tokens ({max_total_tokens}) are two names of one limit: give one."
        )
    return replace(engine_config, max_model_len=max_total_tokens)


def _require_fitting_prompts(config: ServerConfig, max_model_len: int) -> None:
    """Makes sure that the longest prompt leaves room for a token of output, where its length was given.

    Raises:
        FlagError: it does not.
    """
    if config.max_input_tokens is not None and config.max_input_tokens >= max_model_len:
        raise FlagError(
            f"max_input_tokens ({config.max_input_tokens}) must be less than the {max_model_len} tokens of the model's "
            "context."
        )


def _wrong_keys(config: ServerConfig) -> WrongKeys | None:
    number = config.max_auth_failures_per_minute
    return WrongKeys(number) if number else None


def _tell_format(answer_format: AnswerFormat, template: ChatTemplate | None) -> None:
    """Logs how answers are read, and that requests with tools will be refused where their calls could not be."""
    _logger.info("Markup of answers: %s", answer_format.describe())
    if answer_format.calls is None and template is not None and template.takes_tools:
        _logger.warning(
            "The chat template takes tools, but it is not known how the model writes calls: requests with tools are "
            "refused unless they force a call. --tool-call-parser names a format."
        )


def _allowed_hosts(config: ServerConfig, listeners: _Listeners, keyring: Keyring | None) -> tuple[str, ...] | None:
    """The names that clients may know the server by; None is any. Keys keep pages out, whatever they call it."""
    is_exposed_to_pages = keyring is None and not listeners.public_addresses()
    return config.allowed_host if config.allowed_host or is_exposed_to_pages else None


@dataclass(frozen=True, slots=True)
class _Listeners:
    """The addresses that are taken at start; `main_is_managed` where operators use the main one too."""

    main: socket.socket
    rpc: socket.socket | None
    management: tuple[socket.socket, ...]
    main_is_managed: bool

    @classmethod
    def bind(cls, config: ServerConfig) -> _Listeners:
        """Takes them.

        Raises:
            AddressInUse: one is taken.
        """
        own_address = (config.host, config.port)
        managed = [(config.management_host or config.host, port) for port in config.management_port]
        return cls(
            main=bind(*own_address),
            rpc=bind(config.host, config.grpc_port) if config.grpc_port else None,
            management=tuple(bind(*address) for address in managed if address != own_address),
            main_is_managed=own_address in managed,
        )

    def require_loopback(self) -> None:
        """Makes sure that nobody but this machine reaches them; else lets go of them.

        Raises:
            PublicAddress: another machine may reach one.
        """
        for host in self.public_addresses():
            self.close()
            raise PublicAddress(
                f"{host} can be reached from other machines, and no API key is set: give PORTICO_API_KEY, "
                "--api-key, --api-key-file or --tls-client-ca, or --allow-anonymous to serve everybody"
            )

    def public_addresses(self) -> list[str]:
        """Those that other machines may reach."""
        return [host for each in self._all() if not is_loopback(host := each.getsockname()[0])]

    def close(self) -> None:
        """Lets go of them."""
        for each in self._all():
            each.close()

    def _all(self) -> list[socket.socket]:
        return [self.main, *self.management, *([self.rpc] if self.rpc else ())]


async def _listen(
    config: ServerConfig,
    context: Context,
    metrics: Metrics,
    listeners: _Listeners,
    console: Console,
    drain: Drain,
    tls: Tls | None,
) -> None:
    """Serves on all addresses until told to stop."""
    precedence = find_precedence(config.profile)
    pages: Mapping[str, Page] = {"/metrics": metrics.render}
    application = build_application(context, precedence, pages, for_operators=listeners.main_is_managed)
    management = build_application(context, precedence, pages, for_operators=True)
    address = f"http{'s' if tls else ''}://{_join(config.host, listeners.main.getsockname()[1])}"
    grpc_address = _join(config.host, config.grpc_port) if config.grpc_port else None
    managed = [_join(*each.getsockname()[:2]) for each in listeners.management]

    def announce() -> None:
        console.announce(
            address, context.get_status(), context.dialects, grpc_address, managed, context.guard.key_names
        )

    # What is alive now lives as long as the server: the collector need not look at it again.
    gc.freeze()
    # Hundreds of streams hold enough objects for collections to be frequent, and next to nothing in them is a cycle.
    gc.set_threshold(20_000)
    limits = _connection_limits(config)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_serve_procedures(config.profile, context, listeners.rpc, tls))
        for each in listeners.management:
            await stack.enter_async_context(serving(management, each, tls, limits, metrics.count_refused_connection))
        await serve(application, listeners.main, announce, drain, tls, limits, metrics.count_refused_connection)


def _join(host: str, port: int) -> str:
    """An address as it stands in URLs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _time_limits(config: ServerConfig) -> TimeLimits:
    """As the operator has set them; 0 is none."""
    return TimeLimits(config.request_timeout or None, config.queue_timeout or None, config.stall_timeout or None)


def _connection_limits(config: ServerConfig) -> ConnectionLimits:
    """As the operator has set them, with as many connections as the system lets a process have, but for some files."""
    max_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if max_files == resource.RLIM_INFINITY:
        max_files = config.max_connections + _SPARE_FILES
    return ConnectionLimits(
        send_timeout=config.send_timeout or None,
        idle_timeout=config.idle_timeout,
        max_connections=max(min(config.max_connections, max_files - _SPARE_FILES), 1),
    )


def _tls(config: ServerConfig) -> Tls | None:
    if config.tls_certificate is None or config.tls_key is None:
        return None
    authority = Path(config.tls_client_ca) if config.tls_client_ca else None
    return Tls(TlsFiles(Path(config.tls_certificate), Path(config.tls_key), authority))


def _watched(keys: Keys | None, tls: Tls | None) -> list[WatchedFiles]:
    """What is read again when it changes, so that keys are withdrawn and certificates renewed without a new start."""
    found = []
    if keys is not None and keys.file is not None:
        found.append(WatchedFiles("API keys", [keys.file], keys.reload, (KeyConfigError,)))
    if tls is not None:
        found.append(WatchedFiles("Certificates", tls.files.paths, tls.reload, (TlsError,)))
    return found


@asynccontextmanager
async def _serve_procedures(
    profile: str, context: Context, reserved: socket.socket | None, tls: Tls | None
) -> AsyncIterator[None]:
    """Serves gRPC beside HTTP, if an address is reserved for it; only then are its libraries loaded."""
    if reserved is None:
        yield
        return
    from portico.web.grpc_server import serve_procedures

    async with serve_procedures(context, build_rpc_dialects(profile), reserved, tls):
        yield
