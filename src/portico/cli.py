"""The `portico` command; the only place that reads the environment's arguments and writes to the terminal."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from portico import __version__, app
from portico.bench.config import TASKS, BenchConfig
from portico.bench.limits import ProbeFailed
from portico.bench.server_process import ServerStartFailed
from portico.checkpoint import CheckpointError, find_checkpoint
from portico.config import ServerConfig
from portico.console import Console
from portico.core.engine import EngineStartError
from portico.engines.native.config import NativeConfig
from portico.engines.scripted.config import ScriptedConfig
from portico.flags import FlagError, add_flags, name_flags, read_flags
from portico.keys import KeyConfigError, Keys
from portico.text.chat_template import ChatTemplateLoadError
from portico.text.tokenizer import TokenizerLoadError
from portico.web.server import AddressInUse
from portico.web.tls import TlsError

_KEY_VARIABLE = "PORTICO_API_KEY"
ENGINE_CONFIGS: dict[str, type[Any]] = {"native": NativeConfig, "scripted": ScriptedConfig}


class BenchFailed(Exception):
    """The benchmark cannot run as it was asked for; the message is one sentence for the operator."""


# What an operator can mend; anything else is our bug and keeps its traceback.
_OPERATOR_ERRORS = (
    AddressInUse,
    BenchFailed,
    ChatTemplateLoadError,
    CheckpointError,
    EngineStartError,
    FlagError,
    KeyConfigError,
    app.MindieConfigError,
    app.PublicAddress,
    TlsError,
    ProbeFailed,
    ServerStartFailed,
    TokenizerLoadError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is 0 for a clean end, 1 for an error that one line explains."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    given, server_flags = _split_server_flags(given)
    # Processes that are started from here need not know it.
    key = os.environ.pop(_KEY_VARIABLE, None)
    try:
        parsed = build_parser(given).parse_args(given)
        if parsed.command == "bench":
            return uvloop.run(_bench(parsed, server_flags, key))
        uvloop.run(_serve(parsed, key))
    except _OPERATOR_ERRORS as error:
        message = name_flags(str(error), ServerConfig, BenchConfig, *ENGINE_CONFIGS.values())
        print(f"portico: error: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except asyncio.CancelledError:
        print("portico: told to stop before the server was ready", file=sys.stderr)
    return 0


def build_parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The whole command line; the chosen engine's own flags depend on `--engine`."""
    parser = argparse.ArgumentParser(
        prog="portico",
        description="One LLM inference server for clients of OpenAI, vLLM, TGI, Triton, MindIE and Anthropic.",
    )
    parser.add_argument("--version", action="version", version=f"portico {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="serve a model",
        usage="portico serve [MODEL] [FLAG ...]",
        description="Serve a model to clients of all dialects on one port.",
    )
    serve.add_argument(
        "model", nargs="?", metavar="MODEL", help="checkpoint directory or hub id; without it the demo model"
    )
    engine = _chosen_engine(given)
    add_flags(serve, ServerConfig, "server")
    add_flags(serve, ENGINE_CONFIGS[engine], f"{engine} engine")
    serve.set_defaults(**_read_mindie_config(given).settings)
    bench = commands.add_parser(
        "bench",
        help="measure a server under load",
        usage="portico bench [TASK] [FLAG ...] [-- FLAG_OF_SERVE ...]",
        description="load: latency and throughput of a server under load. frontend: what HTTP and JSON cost a token. "
        "limits: what the machine allows. Without --base-url a random checkpoint is served with the flags after --.",
    )
    bench.add_argument("task", nargs="?", choices=TASKS, default=TASKS[0], help="what is measured")
    add_flags(bench, BenchConfig, "benchmark")
    return parser


def _split_server_flags(given: list[str]) -> tuple[list[str], list[str]]:
    """What stands after `--` of `portico bench` is for the server that it starts."""
    if given[:1] != ["bench"] or "--" not in given:
        return given, []
    at = given.index("--")
    return given[:at], given[at + 1 :]


def _chosen_engine(given: Sequence[str]) -> str:
    engine = _look_ahead(given, "--engine")
    return engine if engine in ENGINE_CONFIGS else ServerConfig().engine


def _read_mindie_config(given: Sequence[str]) -> app.FoundSettings:
    """What the file of `--mindie-config` says; flags that are given themselves go before it."""
    path = _look_ahead(given, "--mindie-config")
    return app.read_mindie_config(Path(path)) if path else app.FoundSettings({}, ())


def _look_ahead(given: Sequence[str], flag: str) -> str:
    """The value of a flag that others or their defaults depend on; empty if it is not given."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument(flag, dest="value", default="")
    return str(first.parse_known_args(list(given))[0].value)


async def _bench(parsed: argparse.Namespace, server_flags: Sequence[str], key: str | None) -> int:
    # Only here: it needs numpy, which a server can do without.
    from portico.bench.command import run_bench

    config = read_flags(parsed, BenchConfig)
    if config.base_url and config.api_key is None:
        config = replace(config, api_key=key)
    try:
        return await run_bench(parsed.task, config, server_flags, sys.stdout, sys.stderr)
    except (ValueError, OSError) as error:
        raise BenchFailed(str(error)) from error


async def _serve(parsed: argparse.Namespace, key: str | None) -> None:
    task = asyncio.current_task()
    assert task is not None, "it runs as a task"
    # Until there is something to drain; the engine's process must not go on loading for nobody.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    config = read_flags(parsed, ServerConfig)
    keys = Keys(config.api_key, key, config.api_key_file)
    config = replace(config, api_key=())
    engine_config = read_flags(parsed, ENGINE_CONFIGS[config.engine])
    checkpoint = find_checkpoint(parsed.model, config.served_model_name, config.revision)
    console = Console(sys.stderr)
    if config.mindie_config:
        # Scripts that start MindIE Service wait for this line.
        console = Console(sys.stderr, lambda: print("Daemon start success!", flush=True))
        console.report(config.mindie_config, app.read_mindie_config(Path(config.mindie_config)).remarks)
    await app.run(config, engine_config, checkpoint, console, keys)
