"""`POST /vertex`: several prompts in one request, as Google's platform sends them.

TGI honours two of the parameters here, and draws whatever they say; here all of them hold, for every prompt alike.

Source: `vertex_compatibility` of TGI 3's router.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from portico.core.dialect import RawRequest, Reply, StreamEncoder
from portico.core.errors import InvalidParameter
from portico.core.events import FinishReason, Result
from portico.core.ledger import Ledger, honoured
from portico.core.request import GenerationRequest, Prompt, TextPrompt
from portico.dialects import wire
from portico.dialects.conversation import decode_conversation
from portico.dialects.tgi import decode, errors, ledgers
from portico.dialects.tgi.profile import Profile
from portico.dialects.tgi.schema import Parameters

VERTEX = Ledger("POST /vertex", "", (honoured("instances", "with the same `parameters` in all of them"),))
INSTANCE = Ledger(
    "Instances of /vertex",
    "instances",
    (
        honoured("inputs", "the prompt, one string"),
        honoured("messages", "in place of inputs: a conversation, as in /chat_tokenize"),
        honoured("parameters", "as on /generate, but `do_sample` is true unless given; only texts are answered"),
    ),
)
_UNTOLD = ("details", "decoder_input_details", "top_n_tokens", "return_full_text")


class VertexBody(msgspec.Struct, frozen=True, kw_only=True):
    instances: list[dict[str, Any]]


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    inputs: str | None = None
    messages: list[dict[str, Any]] | None = None
    parameters: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class VertexExchange:
    """Prompts and their texts."""

    request: GenerationRequest

    def reply(self, result: Result) -> Reply:
        """The texts in the order of the prompts; 500 when one was broken off."""
        if any(choice.reason is FinishReason.ABORT for choice in result.choices):
            return Reply(500, errors.incomplete("incomplete_generation"))
        return Reply(200, wire.encode_json({"predictions": [choice.text for choice in result.choices]}))

    def encoder(self) -> StreamEncoder:
        """There is none."""
        raise NotImplementedError("predictions are not streamed")


def decode_vertex(raw: RawRequest, profile: Profile) -> VertexExchange:
    """Reads the prompts and their parameters.

    Raises:
        RequestError: what TGI refuses, what is not honoured, and parameters that differ.
    """
    body = wire.decode_object(raw.body)
    VERTEX.check(body)
    instances = wire.convert(body, VertexBody).instances
    if not 1 <= len(instances) <= raw.limits.max_num_seqs:
        raise InvalidParameter(
            "instances", f"`instances` must have 1 to {raw.limits.max_num_seqs} entries. Given: {len(instances)}"
        )
    read = [_read(fields, f"instances[{index}]", raw.limits.max_messages) for index, fields in enumerate(instances)]
    parameters = read[0][1]
    for index, (_, other) in enumerate(read):
        if other != parameters:
            name = f"instances[{index}].parameters"
            raise InvalidParameter(name, f"`{name}` must be the same as those of the first instance")
    prompts = tuple(prompt for prompt, _ in read)
    request = decode.build_request(raw, profile, parameters, prompts, stream=False)
    return VertexExchange(replace(request, output=replace(request.output, token_details=False, logprobs=None)))


def _read(fields: dict[str, Any], path: str, max_messages: int) -> tuple[Prompt, Parameters]:
    INSTANCE.check(fields)
    given = {name: value for name, value in fields.items() if value is not None}
    instance = wire.convert(given, Instance, path)
    ledgers.PARAMETERS.check(instance.parameters)
    for name in _UNTOLD:
        if instance.parameters.get(name):
            raise InvalidParameter(f"{path}.parameters.{name}", f"`{name}` has no place in predictions")
    parameters = decode.read_parameters({"do_sample": True, **instance.parameters})
    if (parameters.best_of or 1) > 1:
        raise InvalidParameter(f"{path}.parameters.best_of", "`best_of` != 1 is not allowed for this endpoint")
    if (instance.inputs is None) == (instance.messages is None):
        raise InvalidParameter(path, f"`{path}` must have either `inputs` or `messages`")
    if instance.messages is not None:
        wire.require_few_messages(f"{path}.messages", instance.messages, max_messages)
        return decode_conversation(instance.messages, {}, False), parameters
    return TextPrompt(instance.inputs or "", add_special_tokens=True), parameters
