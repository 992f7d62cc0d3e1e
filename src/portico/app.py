"""The composition root: the only module that knows every dialect, every engine and the web."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from portico import __version__
from portico.checkpoint import Checkpoint
from portico.config import ServerConfig
from portico.console import Console
from portico.core.dialect import Dialect
from portico.core.engine import Engine
from portico.core.model import ServerStatus
from portico.core.observer import Observers
from portico.dialects import mindie, openai, tgi, triton, vllm
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine import NativeEngine
from portico.engines.scripted.config import ScriptedConfig
from portico.engines.scripted.engine import ScriptedEngine
from portico.service.admission import Admission
from portico.service.conversion import ConversionService
from portico.service.generation import GenerationService
from portico.service.preparation import Preparation
from portico.telemetry.logging import AccessLog, configure_logging
from portico.telemetry.metrics import Metrics
from portico.text.chat_template import ChatTemplate
from portico.text.tokenizer import Tokenizer
from portico.web.application import build_application
from portico.web.endpoint import Context
from portico.web.server import bind, serve

EngineConfig = NativeConfig | ScriptedConfig

# Who answers where several dialects have a path that tells them nothing apart.
PRECEDENCE: Mapping[tuple[str, str], Sequence[str]] = {
    ("GET", "/health"): ("vllm", "tgi"),
    ("GET", "/ping"): ("vllm", "tgi"),
}


def build_dialects(profile: str) -> tuple[Dialect, ...]:
    """All dialects, in the flavours of a profile; the first one answers for paths that are nobody's."""
    is_mindie = profile == "mindie"
    return (
        openai.dialect(),
        vllm.dialect(vllm.MINDIE if is_mindie else vllm.UPSTREAM),
        tgi.dialect(),
        triton.dialect(triton.MINDIE if is_mindie else triton.DEFAULT),
        mindie.dialect(),
    )


def build_engine(config: EngineConfig, path: Path, tokenizer: Tokenizer) -> Engine:
    """The engine of a configuration; the scripted one writes with the tokens that the tokenizer has."""
    if isinstance(config, ScriptedConfig):
        vocab_size = min(config.vocab_size, tokenizer.vocab_size)
        eos_token_id = min(tokenizer.special_ids, default=config.eos_token_id)
        return ScriptedEngine(replace(config, vocab_size=max(vocab_size, eos_token_id + 1), eos_token_id=eos_token_id))
    return NativeEngine(path, config)


@dataclass(frozen=True, slots=True)
class _StatusReport:
    """Gathers what metadata routes report, at the moment they are asked."""

    config: ServerConfig
    checkpoint: Checkpoint
    engine: Engine
    admission: Admission
    max_num_seqs: int
    started_at: int

    def __call__(self) -> ServerStatus:
        return ServerStatus(
            version=__version__,
            served=self.checkpoint.served,
            model=self.engine.info,
            limits=self.config.limits(self.max_num_seqs),
            is_ready=self.engine.is_ready,
            started_at=self.started_at,
            stats=self.engine.stats(),
            num_requests=self.admission.num_requests,
        )


async def run(config: ServerConfig, engine_config: EngineConfig, checkpoint: Checkpoint, console: Console) -> None:
    """Serves until told to stop.

    Raises:
        AddressInUse, TokenizerLoadError, ChatTemplateLoadError, EngineStartError: what the operator must mend.
    """
    configure_logging(config.log_level, config.log_format)
    listener = bind(config.host, config.port)
    tokenizer = Tokenizer.load(checkpoint.path)
    template = ChatTemplate.load(checkpoint.path, Path(config.chat_template) if config.chat_template else None)
    dialects = build_dialects(config.profile)
    engine = build_engine(engine_config, checkpoint.path, tokenizer)
    try:
        try:
            await engine.start(console.show_progress)
        finally:
            console.end_progress()
        admission = Admission(engine_config.max_num_seqs, config.max_waiting)
        get_status = _StatusReport(config, checkpoint, engine, admission, engine_config.max_num_seqs, int(time.time()))
        preparation = Preparation(tokenizer, template)
        aliases = tuple(alias for dialect in dialects for alias in dialect.metric_aliases)
        metrics = Metrics(checkpoint.served.name, engine.stats, aliases)
        context = Context(
            dialects=dialects,
            generator=GenerationService(engine, tokenizer, preparation, checkpoint.served, admission),
            converter=ConversionService(engine, tokenizer, preparation, checkpoint.served),
            get_status=get_status,
            observer=Observers(metrics, AccessLog()),
            limits=config.limits(engine_config.max_num_seqs),
            max_body_bytes=config.max_body_size,
        )
        application = build_application(context, PRECEDENCE, {"/metrics": metrics.render})
        # What is alive now lives as long as the server: the collector need not look at it again.
        gc.freeze()
        address = f"http://{config.host}:{listener.getsockname()[1]}"
        await serve(application, listener, lambda: console.announce(address, get_status(), dialects))
    finally:
        await engine.close()
        listener.close()
