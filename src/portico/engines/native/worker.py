"""The worker process: loads the model, then steps while there is work and sleeps on its socket while there is none."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from pathlib import Path

from portico.core.engine import EngineStartError
from portico.engines.native.channel import ChannelClosed, WorkerChannel
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.heartbeat import Heart
from portico.engines.native.messages import Abort, AddJob, Beat, LoadFailed, LoadProgress, Scheduled, UseVocabulary
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
        except ChannelClosed:
            return
        except Exception as error:
            _logger.exception("loading failed")
            channel.send(LoadFailed(f"The checkpoint {path} cannot be loaded: {type(error).__name__}: {error}."))
            return
        channel.send(ready)
        heart = Heart(lambda: _beat(channel), core.progress, lambda: core.max_stillness)
        heart.start()
        serve(channel, core, heart)
    except ChannelClosed:
        return
    except Exception:
        _logger.exception("the engine's process ends")
        # Clients wait: the end of an interpreter with torch takes a second.
        os._exit(1)


def serve(channel: WorkerChannel, core: EngineCore, heart: Heart) -> None:
    """Takes messages and steps until the channel is closed.

    Raises:
        ModelBroken: no step can be run any more.
    """
    core.on_scheduled = lambda handles: channel.send(Scheduled(handles))
    while True:
        heart.rest()
        messages = channel.receive(wait=not core.has_work)
        heart.begin()
        for message in messages:
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


def _beat(channel: WorkerChannel) -> None:
    # When the engine is gone the main thread finds out too, and ends the process.
    with contextlib.suppress(ChannelClosed):
        channel.send(Beat())
