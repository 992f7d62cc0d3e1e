"""Every field that the backends behind this dialect document, and what happens to it.

A field of a generate request may stand at the top, in `parameters`, or in the JSON text of `sampling_parameters`; one
of an infer request in `inputs` as a tensor, in `parameters`, or in that JSON text.
"""

from __future__ import annotations

from dataclasses import replace

from portico.core.ledger import Entry, Ledger, honoured, neutral, refused
from portico.dialects.triton.schema import SECOND_NAMES

_NO_ADAPTERS = "no adapters are served."
_NO_IMAGES = "this model takes text only."
_NO_LOGITS = "logits are not given out."
_NO_TUNING = "prompt tuning is not available."

_BODY = (
    honoured("text_input", "the prompt, a string or a list of one"),
    honoured("parameters", "an object of further fields"),
    honoured("id", "given back in the answer"),
    honoured("details", "adds the finish reason, the count of tokens and the tokens with their logprobs"),
)
_COMMON = (
    honoured("sampling_parameters", "further fields as JSON text or as an object; a field may be given once only"),
    honoured("stream", "responses carry new text only; on generate it must be false, infer gives them all as one"),
    honoured("exclude_input_in_output", "absent: the prompt is echoed unless streaming (MindIE profile: never)"),
    honoured("return_finish_reason"),
    honoured("return_num_input_tokens"),
    honoured("return_num_output_tokens", "counts the tokens that are new in each response"),
    honoured("return_cumulative_logprob"),
    honoured("return_logprobs", "the JSON text of each new token and `logprobs` likely ones, with ranks among these"),
    honoured("logprobs", "how many likely tokens `return_logprobs` shows; it asks for them by itself"),
    honoured("return_log_probs", "cum_log_probs, and output_log_probs of the new tokens"),
)
_SAMPLING = (
    honoured("max_tokens", "absent is 16 (MindIE profile: 20); a prompt and an output beyond the context are refused"),
    honoured("min_tokens"),
    honoured("n", "text_output is a list when there are several"),
    honoured(
        "do_sample",
        "false is greedy unless temperature or a filter such as top_p is given; absent is true (MindIE profile: false)",
    ),
    honoured("temperature", "0 is greedy"),
    honoured("top_k", "0 and -1 are off"),
    honoured("top_p", "0 is off with `top_k` and greedy without it, as in TensorRT-LLM"),
    honoured("typical_p"),
    honoured("min_p"),
    honoured("repetition_penalty"),
    honoured("presence_penalty"),
    honoured("frequency_penalty"),
    honoured("logit_bias", "an object from token ids to what is added to their logits"),
    honoured("watermark", "gamma 0.5, delta 2.0, hash key 15485863"),
    honoured("seed", "negative seeds count from 2**64 downwards"),
    honoured("stop", "a string or a list; empty strings are none"),
    honoured("stop_token_ids"),
    honoured("bad_words", "a string or a list; the output does not hold them; empty strings are none"),
    honoured("allowed_token_ids", "no other tokens are drawn"),
    honoured("end_id", "the one token that ends the output, in place of the model's own; -1 is none"),
    honoured("ignore_eos"),
    honoured("include_stop_str_in_output"),
    honoured("skip_special_tokens"),
    honoured("structured_outputs", "the whole output has one form; an object or its JSON text"),
    honoured("guided_decoding", "the older name of structured_outputs"),
    honoured("guided_decoding_guide_type", "`json`, or `json_schema`, `regex`, `ebnf_grammar` with a guide"),
    honoured("guided_decoding_guide", "the schema, the expression or the rules"),
    honoured("timeout", "in microseconds from receipt, at most `--request-timeout`, as is 0 (MindIE profile: seconds)"),
    honoured("truncate_prompt_tokens", "keeps the last tokens of the prompt; -1 keeps all"),
)
_NEUTRAL = (
    neutral("priority", "requests are served in order; the answer is the same."),
    neutral("batch_size", "batches are formed by the server."),
    neutral("pad_id", "nothing is padded."),
    neutral("beam_width", "there is no beam search.", 1),
    neutral("length_penalty", "there is no beam search.", 0, 1),
    neutral("best_of", "use `n`.", 1),
    neutral("sampling_param_best_of", "use `n`.", 1),
    neutral("detokenize", "answers are text.", True),
    neutral("spaces_between_special_tokens", "text is decoded as the tokenizer does.", True),
    neutral("return_stop_reason", "`return_finish_reason` is available.", False),
    neutral("return_context_logits", _NO_LOGITS, False),
    neutral("return_generation_logits", _NO_LOGITS, False),
    neutral("return_perf_metrics", "see /metrics.", False),
    neutral("sampling_param_return_perf_metrics", "see /metrics.", False),
    neutral("use_draft_logits", "there is no draft model.", False),
    neutral("num_draft_tokens", "there is no draft model.", 0),
    neutral("embedding_bias_words", "use `logit_bias`.", "", [""], []),
    neutral("embedding_bias_weights", "use `logit_bias`.", []),
)
_REFUSED = (
    refused("image", _NO_IMAGES),
    refused("image_input", _NO_IMAGES),
    refused("image_bytes_input", _NO_IMAGES),
    refused("image_url_input", _NO_IMAGES),
    refused("video_bytes_input", _NO_IMAGES),
    refused("embedding_request", "this path generates text."),
    refused("decoder_text_input", "this is not an encoder-decoder model."),
    refused("prompt_logprobs", "log-probabilities of prompts are not given on this path."),
    refused("lora_name", _NO_ADAPTERS),
    refused("lora_task_id", _NO_ADAPTERS),
    refused("lora_weights", _NO_ADAPTERS),
    refused("lora_config", _NO_ADAPTERS),
    refused("prompt_embedding_table", _NO_TUNING),
    refused("prompt_vocab_size", _NO_TUNING),
    refused("prompt_table_extra_id", _NO_TUNING),
)


def _second_names() -> tuple[Entry, ...]:
    return tuple(honoured(second, f"the same as {first}") for second, first in SECOND_NAMES.items())


_FIELDS = (*_COMMON, *_SAMPLING, *_second_names(), *_NEUTRAL, *_REFUSED)
_NO_SEQUENCES = "requests do not share a state."

GENERATE = Ledger("POST /v2/models/{model}[/versions/{version}]/generate and generate_stream", "", (*_BODY, *_FIELDS))
INFER = Ledger(
    "POST /v2/models/{model}[/versions/{version}]/infer",
    "",
    (
        honoured("id", "given back in the answer"),
        honoured("inputs", "tensors under the names of the fields below, as JSON or in binary form"),
        honoured("parameters", "fields that are not among the inputs"),
        honoured("outputs", "names of output tensors; absent is those that the fields ask for"),
    ),
)
INFER_FIELDS = Ledger(
    "Fields of infer",
    "parameters",
    (
        honoured("text_input", "the prompt, one string"),
        *_FIELDS,
        honoured("binary_data_output", "outputs in binary form where the request names none"),
        neutral("details", "ask for output tensors instead.", False),
        neutral("sequence_id", _NO_SEQUENCES, 0, ""),
        neutral("sequence_start", _NO_SEQUENCES, False),
        neutral("sequence_end", _NO_SEQUENCES, False),
        refused("headers", "headers are taken from the request itself."),
    ),
)
INFER_TENSORS = replace(INFER_FIELDS, scope="")
"""The same where they are tensors."""
