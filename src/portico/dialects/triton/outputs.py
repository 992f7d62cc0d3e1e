"""The output tensors of the model: which there are, who asks for them, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.events import Token
from portico.dialects import wire
from portico.dialects.triton.responses import Part
from portico.dialects.triton.tensors import Tensor

UNFINISHED = "None"
"""What stands for the finish reason of a choice that goes on."""

TEXT_OUTPUT = "text_output"


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An output: its datatype, its width (-1: one element per choice) and the field that asks for it, if any."""

    name: str
    datatype: str
    width: int
    flag: str
    needs_logprobs: bool = False


# Those of the vLLM backend; then those of the TensorRT-LLM ensembles that mean something else.
OUTPUTS = (
    OutputSpec(TEXT_OUTPUT, "BYTES", -1, ""),
    OutputSpec("finish_reason", "BYTES", -1, "return_finish_reason"),
    OutputSpec("cumulative_logprob", "FP32", -1, "return_cumulative_logprob", needs_logprobs=True),
    OutputSpec("logprobs", "BYTES", -1, "return_logprobs", needs_logprobs=True),
    OutputSpec("num_input_tokens", "UINT32", 1, "return_num_input_tokens"),
    OutputSpec("num_output_tokens", "UINT32", -1, "return_num_output_tokens"),
)
ENSEMBLE_OUTPUTS = (
    OutputSpec("cum_log_probs", "FP32", -1, "return_log_probs", needs_logprobs=True),
    OutputSpec("output_log_probs", "FP32", -1, "return_log_probs", needs_logprobs=True),
)
ALL_OUTPUTS = {spec.name: spec for spec in (*OUTPUTS, *ENSEMBLE_OUTPUTS)}

_MATRICES = frozenset({"output_log_probs"})
_VALUES: dict[str, Callable[[Part], Any]] = {
    TEXT_OUTPUT: lambda part: part.text,
    "finish_reason": lambda part: part.reason.value if part.reason else UNFINISHED,
    "cumulative_logprob": lambda part: part.logprob,
    "cum_log_probs": lambda part: part.logprob,
    "logprobs": lambda part: _describe_tokens(part.tokens),
    "num_output_tokens": lambda part: part.num_tokens,
}


def build_outputs(names: Iterable[str], num_input_tokens: int, parts: Sequence[Part]) -> list[Tensor]:
    """The named outputs of one response, with one element per choice in most of them."""
    tensors = []
    for name in names:
        values = output_values(name, num_input_tokens, parts)
        shape = (len(parts), len(values) // len(parts)) if name in _MATRICES else (len(values),)
        tensors.append(Tensor(name, ALL_OUTPUTS[name].datatype, shape, values))
    return tensors


def output_values(name: str, num_input_tokens: int, parts: Sequence[Part]) -> tuple[Any, ...]:
    """The elements of one output of one response."""
    if name == "num_input_tokens":
        return (num_input_tokens,)
    if name in _MATRICES:
        return _pad([[token.logprob or 0.0 for token in part.tokens] for part in parts])
    return tuple(map(_VALUES[name], parts))


def _pad(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """A row per choice; shorter rows end in zeros, as the ensembles' do."""
    width = max(map(len, rows))
    return tuple(value for row in rows for value in (*row, *[0.0] * (width - len(row))))


def _describe_tokens(tokens: Sequence[Token]) -> str:
    """The backend's JSON text: for each token an object of it and its most likely rivals, by id."""
    return wire.encode_json([_describe_token(token) for token in tokens]).decode()


def _describe_token(token: Token) -> dict[str, Any]:
    ranks = {each.id: rank for rank, each in enumerate(token.alternatives, start=1)}
    # The rank of a token that is not among the most likely ones is not known.
    described = {str(token.id): _entry(token.logprob, ranks.get(token.id), token.raw)}
    for each in token.alternatives:
        described.setdefault(str(each.id), _entry(each.logprob, ranks[each.id], each.raw))
    return described


def _entry(logprob: float | None, rank: int | None, raw: bytes) -> dict[str, Any]:
    return {"logprob": logprob, "rank": rank, "decoded_token": raw.decode("utf-8", "replace")}
