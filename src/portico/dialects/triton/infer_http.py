"""The infer route of HTTP: text, and the token ids of MindIE Service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Exchange, RawRequest, Reply, StreamEncoder
from portico.core.errors import InvalidParameter
from portico.core.events import Result
from portico.core.request import GenerationRequest, TokensPrompt
from portico.dialects.triton import envelope, ledgers
from portico.dialects.triton.decode import Decoder, require_version
from portico.dialects.triton.encode import EventStream
from portico.dialects.triton.envelope import Body, Envelope
from portico.dialects.triton.fields import Place, gather
from portico.dialects.triton.infer import decode_inference
from portico.dialects.triton.layout import Layout
from portico.dialects.triton.outputs import build_outputs
from portico.dialects.triton.responses import whole_response
from portico.dialects.triton.tensors import Tensor, from_json

_TOKENS = "UINT32"


@dataclass(frozen=True, slots=True)
class TensorExchange:
    """One infer request about text and how it is answered."""

    request: GenerationRequest
    layout: Layout
    binary: frozenset[str] | None
    headers: Mapping[str, str]

    def reply(self, result: Result) -> Reply:
        """All outputs in one response."""
        response = whole_response(result, self.layout.prefix)
        head: dict[str, Any] = {"id": self.layout.id} if self.layout.id else {}
        head.update(model_name=response.model, model_version=self.layout.model_version)
        outputs = build_outputs(self.layout.outputs, response.num_input_tokens, response.parts)
        return envelope.reply(outputs, self.binary, head, self.headers)

    def encoder(self) -> StreamEncoder:
        """The path is never streamed; its responses would be those of `generate_stream`."""
        return EventStream(self.request.num_choices, self.layout)


@dataclass(frozen=True, slots=True)
class TokenExchange:
    """One infer request about token ids and how it is answered."""

    request: GenerationRequest
    layout: Layout
    output: str
    headers: Mapping[str, str]

    def reply(self, result: Result) -> Reply:
        """The new token ids, without the prompt's."""
        token_ids = result.choices[0].token_ids
        output = Tensor(self.output, _TOKENS, (1, len(token_ids)), token_ids)
        return envelope.reply([output], frozenset(), {"id": self.layout.id}, self.headers)

    def encoder(self) -> StreamEncoder:
        """The path is never streamed; its responses would be those of `generate_stream`."""
        return EventStream(self.request.num_choices, self.layout)


def decode_infer(decoder: Decoder, raw: RawRequest) -> Exchange:
    """Reads an infer request.

    Raises:
        RequestError: it is malformed, or asks for what is not honoured.
    """
    head, blob = envelope.split_body(raw)
    if head is None:
        return _text_exchange(decoder, raw, envelope.open_raw(raw, blob))
    body = envelope.read_head(head)
    if decoder.profile.infers_tokens and [entry.datatype for entry in body.inputs] == [_TOKENS]:
        return _token_exchange(decoder, raw, body)
    return _text_exchange(decoder, raw, envelope.open_envelope(raw, body, blob))


def _text_exchange(decoder: Decoder, raw: RawRequest, opened: Envelope) -> TensorExchange:
    inference = decode_inference(decoder, raw, opened.infer, stream=False)
    return TensorExchange(inference.request, inference.layout, opened.binary, raw.headers)


def _token_exchange(decoder: Decoder, raw: RawRequest, body: Body) -> TokenExchange:
    """Parameters may stand beside the inputs, or in the one input as its first documents had it."""
    model, version = raw.path_params["model"], raw.path_params.get("version", "")
    require_version(model, version)
    (entry,) = body.inputs
    if body.outputs is None or len(body.outputs) != 1:
        raise InvalidParameter("outputs", "`outputs` must name one output for the one input.")
    count = envelope.check_entry(entry, raw.limits.max_body_size)
    tensor = from_json(entry.name, entry.datatype, tuple(entry.shape), count, entry.data)
    places = (Place(ledgers.INFER_FIELDS, body.parameters), Place(ledgers.INFER_FIELDS, entry.parameters))
    given = gather(places, model, needs_text=False)
    if given.fields.n != 1:
        raise InvalidParameter(given.name("n"), f"`{given.name('n')}` must be 1 for token ids.")
    layout = decoder.build_layout(given, body.id or raw.request_id, version, is_incremental=False)
    request = decoder.build_request(raw, given, model, layout, TokensPrompt(tensor.values), stream=False)
    return TokenExchange(request, layout, body.outputs[0].name, raw.headers)
