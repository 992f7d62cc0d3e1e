"""The worker process: loads the model, then steps while there is work and sleeps on its socket while there is none."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from portico.core.engine import EngineStartError
from portico.engines.native.channel import ChannelClosed, WorkerChannel
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.messages import Abort, AddJob, LoadFailed, LoadProgress, Scheduled, UseVocabulary
from portico.engines.native.startup import build

_logger = logging.getLogger(__name__)


def run(connection: socket.socket, path: Path, config: NativeConfig) -> None:
    """The whole life of the process; it ends when the engine closes its end of the connection."""
    channel = WorkerChannel(connection)
    try:
        try:
            core, ready = build(path, config, lambda fraction: channel.send(LoadProgress(fraction)))
        except EngineStartError as error:
            channel.send(LoadFailed(str(error)))
            return
        except (RuntimeError, ValueError, MemoryError) as error:
            _logger.exception("loading failed")
            channel.send(LoadFailed(f"The checkpoint {path} cannot be loaded: {type(error).__name__}: {error}."))
            return
        channel.send(ready)
        serve(channel, core)
    except ChannelClosed:
        return


def serve(channel: WorkerChannel, core: EngineCore) -> None:
    """Takes messages and steps until the channel is closed."""
    core.on_scheduled = lambda handles: channel.send(Scheduled(handles))
    while True:
        for message in channel.receive(wait=not core.has_work):
            match message:
                case UseVocabulary():
                    core.grammars.use(message.vocabulary)
                case AddJob():
                    core.add(message.handle, message.job)
                case Abort():
                    core.abort(message.handle, message.index)
        done = core.step()
        if not done.is_empty or done.stats is not None:
            channel.send(done)
