"""The fields of a generate request under their first names. Null means absent, so absent fields are None."""

from __future__ import annotations

from typing import Any

import msgspec


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """A generate request after its nested objects and second names were resolved."""

    text_input: str = ""
    id: str = ""
    stream: bool = False
    max_tokens: int | None = None
    min_tokens: int = 0
    n: int = 1
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[str, float] = {}
    watermark: bool = False
    seed: int | None = None
    stop: list[str] = []
    stop_token_ids: list[int] = []
    bad_words: list[str] = []
    allowed_token_ids: list[int] | None = None
    end_id: int | None = None
    ignore_eos: bool = False
    timeout: float | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    exclude_input_in_output: bool | None = None
    return_finish_reason: bool = False
    return_num_input_tokens: bool = False
    return_num_output_tokens: bool = False
    return_cumulative_logprob: bool = False
    return_logprobs: bool = False
    return_log_probs: bool = False
    logprobs: int | None = None
    details: bool = False
    structured_outputs: dict[str, Any] | str | None = None
    guided_decoding: dict[str, Any] | str | None = None
    guided_decoding_guide: str | None = None
    guided_decoding_guide_type: str | None = None

    @property
    def filters_tokens(self) -> bool:
        """Whether any filter was asked for that only means something to a drawn token."""
        return self.top_k is not None or self.top_p is not None or self.typical_p != 1 or self.min_p != 0


NUMBERS = frozenset(
    {
        "max_tokens",
        "min_tokens",
        "n",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "end_id",
        "truncate_prompt_tokens",
        "logprobs",
        "timeout",
    }
)
"""Fields that may be numbers in quotes."""

LISTS = frozenset({"stop", "stop_token_ids", "bad_words", "allowed_token_ids"})
"""Fields whose value may be a list; others may stand in a list of one."""

TEXTS = frozenset(
    {
        "text_input",
        "sampling_parameters",
        "stop",
        "bad_words",
        "structured_outputs",
        "guided_decoding",
        "guided_decoding_guide",
        "guided_decoding_guide_type",
    }
)
"""Fields that are text as tensors."""

FLAGS = frozenset(name for name, hint in Fields.__annotations__.items() if hint in ("bool", "bool | None"))
"""Fields that are true or false."""

SECOND_NAMES = {
    "max_new_tokens": "max_tokens",
    "min_length": "min_tokens",
    "num_return_sequences": "n",
    "random_seed": "seed",
    "stop_words": "stop",
    "streaming": "stream",
    "sampling_param_max_tokens": "max_tokens",
    "sampling_param_temperature": "temperature",
    "sampling_param_top_k": "top_k",
    "sampling_param_top_p": "top_p",
    "sampling_param_stop": "stop",
    "sampling_param_seed": "seed",
    "sampling_param_frequency_penalty": "frequency_penalty",
    "sampling_param_presence_penalty": "presence_penalty",
    "sampling_param_exclude_input_from_output": "exclude_input_in_output",
}
"""Names of other backends and older releases for the same fields."""
