"""Messages over a stream socket: each is its length in four bytes and a pickle.

Both ends are this program, so what is unpickled is trusted.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct("<I")
_RECEIVE_SIZE = 1 << 18


class ChannelClosed(Exception):
    """The other end is gone."""


def encode(message: object) -> bytes:
    """The frame of one message."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts received bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Takes bytes and gives the messages that are complete now."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            with memoryview(self._buffer) as view:
                message = pickle.loads(view[start + _LENGTH.size : end])
            start = end
            yield message
        del self._buffer[:start]


class WorkerChannel:
    """The worker's end; it blocks where the engine's end never does."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.setblocking(True)
        self._sending = threading.Lock()
        self._frames = FrameReader()

    def send(self, message: object) -> None:
        """Sends one message, from any thread.

        Raises:
            ChannelClosed: the engine is gone.
        """
        frame = encode(message)
        try:
            with self._sending:
                self._connection.sendall(frame)
        except OSError as error:
            raise ChannelClosed from error

    def receive(self, *, wait: bool) -> list[Any]:
        """What has arrived; with `wait` sleeps until there is something.

        Raises:
            ChannelClosed: the engine is gone.
        """
        messages: list[Any] = []
        while (wait and not messages) or select.select([self._connection], [], [], 0)[0]:
            try:
                data = self._connection.recv(_RECEIVE_SIZE)
            except OSError as error:
                raise ChannelClosed from error
            if not data:
                raise ChannelClosed
            messages.extend(self._frames.feed(data))
        return messages
