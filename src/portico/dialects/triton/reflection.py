"""gRPC's reflection: the services that are here, and the files that declare them.

Source: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
"""

from __future__ import annotations

from typing import Any

from portico.core.dialect import RawRequest, Reply
from portico.core.model import ServerStatus
from portico.dialects.triton.messages import Messages
from portico.dialects.triton.protos import (
    HEALTH_SERVICE,
    INFERENCE_SERVICE,
    OLDER_REFLECTION_SERVICE,
    REFLECTION_SERVICE,
)

_SERVICES = (INFERENCE_SERVICE, HEALTH_SERVICE, REFLECTION_SERVICE, OLDER_REFLECTION_SERVICE)
# gRPC's numbers of the statuses NOT_FOUND and INVALID_ARGUMENT.
_NOT_FOUND, _INVALID_ARGUMENT = 5, 3


class Reflection:
    """Answers the questions of one call's messages; none of them is an error of the call."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    def describe(self, raw: RawRequest, status: ServerStatus) -> Reply:
        """The answer to one message.

        Raises:
            MalformedRequest: it is no such message.
        """
        asked = self._messages.decode("ServerReflectionRequest", raw.body)
        answer = self._messages.make("ServerReflectionResponse", valid_host=asked.host, original_request=asked)
        self._fill(answer, asked, asked.WhichOneof("choice"))
        return Reply(200, bytes(answer.SerializeToString()), "application/grpc")

    def _fill(self, answer: Any, asked: Any, kind: str | None) -> None:
        pool = self._messages.pool
        try:
            match kind:
                case "list_services":
                    for name in _SERVICES:
                        answer.list_services_response.service.add(name=name)
                case "file_by_filename":
                    self._give_file(answer, pool.FindFileByName(asked.file_by_filename))
                case "file_containing_symbol":
                    self._give_file(answer, pool.FindFileContainingSymbol(asked.file_containing_symbol))
                case "file_containing_extension" | "all_extension_numbers_of_type":
                    _refuse(answer, _NOT_FOUND, "There are no extensions.")
                case _:
                    _refuse(answer, _INVALID_ARGUMENT, "The message asks for nothing.")
        except KeyError:
            _refuse(answer, _NOT_FOUND, f"There is no {getattr(asked, kind or '')!r} here.")

    def _give_file(self, answer: Any, file: Any) -> None:
        """The one file: none of them needs another."""
        answer.file_descriptor_response.file_descriptor_proto.append(file.serialized_pb)


def _refuse(answer: Any, code: int, sentence: str) -> None:
    answer.error_response.error_code = code
    answer.error_response.error_message = sentence
