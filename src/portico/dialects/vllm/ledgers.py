"""What happens to every field that `POST /generate` documents, in either profile."""

from __future__ import annotations

from portico.core.ledger import Ledger, honoured, neutral, refused
from portico.dialects.grammars import structured_outputs_ledger

_BEAM = "there is no beam search."
_NO_LOGPROBS = "the answer has no place for log-probabilities."

GENERATE = Ledger(
    "POST /generate",
    "",
    (
        honoured("prompt", "text"),
        honoured("model", "may be absent: the served model"),
        honoured("stream"),
        honoured("n", "up to the server's limit, at any temperature"),
        honoured("best_of", "at least `n`, and `n` with `stream`; ranked by cumulative log-probability"),
        honoured(
            "temperature", "0 is greedy; less than 0.01 is raised to 0.01; absent: 1, whatever the checkpoint says"
        ),
        honoured("top_p", "greater than 0, up to 1"),
        honoured("top_k", "-1 and 0 are off"),
        honoured("min_p", "0 to 1"),
        honoured("repetition_penalty", "greater than 0, over prompt and output"),
        honoured("presence_penalty", "-2 to 2, over the output"),
        honoured("frequency_penalty", "-2 to 2, over the output"),
        honoured("logit_bias", "-100 to 100 per token id"),
        honoured("seed", "64 bits, -1 is none; choice i draws with seed + i"),
        honoured("stop", "a string or a list"),
        honoured("stop_token_ids"),
        honoured("include_stop_str_in_output"),
        honoured("ignore_eos"),
        honoured("max_tokens", "cut to what fits the context"),
        honoured("min_tokens"),
        honoured("skip_special_tokens"),
        honoured(
            "truncate_prompt_tokens", "so many tokens of the prompt stay; -1: as many as leave room for one of output"
        ),
        honoured("truncation_side", "`left` keeps the end of the prompt, `right` its beginning; absent: `left`"),
        honoured("allowed_token_ids", "only these are drawn; not empty"),
        honoured(
            "bad_words", "at most 128; their spellings at the start of a text and after a space are not completed"
        ),
        neutral("use_beam_search", _BEAM, False),
        neutral("length_penalty", _BEAM, 1.0),
        neutral("early_stopping", _BEAM, False),
        neutral("spaces_between_special_tokens", "special tokens are separated by the tokenizer alone.", True),
        neutral("detokenize", "the answer is text.", True),
        neutral("logits_processors", "code in requests is not run.", []),
        neutral("flat_logprobs", _NO_LOGPROBS, False),
        neutral("stream_interval", "every step is sent.", 1),
        neutral("skip_reading_prefix_cache", "cached prompts are always read.", False),
        refused("logprobs", _NO_LOGPROBS),
        refused("prompt_logprobs", _NO_LOGPROBS),
        refused("logprob_token_ids", _NO_LOGPROBS),
        refused("prompt_logprob_token_ids", _NO_LOGPROBS),
        refused("prompt_logprob_start", _NO_LOGPROBS),
        honoured("structured_outputs", "the whole output has one form"),
        honoured("guided_decoding", "the older name of `structured_outputs`"),
        refused("output_kind", "the profile of the server decides what is streamed."),
        refused("extra_args", "there are no further engine arguments."),
        refused("thinking_token_budget", "reasoning is not limited apart from the answer."),
        refused("repetition_detection", "repetition does not end a choice."),
        refused("trace_decode_token_ids", "tokens are drawn, not dictated."),
        neutral("watermarking", "outputs are not watermarked here.", False),
        neutral("routed_experts_prompt_start", "routed experts are not told.", 0),
        neutral("skip_clone", "a remark of vLLM's for itself"),
    ),
)

STRUCTURED_OUTPUTS = structured_outputs_ledger("structured_outputs")
GUIDED_DECODING = structured_outputs_ledger("guided_decoding")

_MODEL = honoured("model", "may be absent: the served model")

TOKENIZE = Ledger(
    "POST /tokenize",
    "",
    (
        _MODEL,
        honoured("prompt", "text of any length; a body has `prompt` or `messages`"),
        honoured("messages", "as in /v1/chat/completions"),
        honoured(
            "add_special_tokens", "absent: true with `prompt`, false with `messages`: the chat template writes them"
        ),
        honoured("return_token_strs", "the tokens as the vocabulary spells them"),
        honoured("add_generation_prompt", "with `messages`; absent: true"),
        honoured("continue_final_message", "with `messages`: the prompt ends with the last one's content"),
        honoured("chat_template_kwargs", "with `messages`: variables that the chat template may read"),
        honoured(
            "chat_template",
            "with `messages`; refused unless the server was started with --trust-request-chat-template",
        ),
        honoured("tools", "with `messages`: as in /v1/chat/completions"),
        refused("mm_processor_kwargs", "messages are text."),
        refused("media_io_kwargs", "messages are text."),
    ),
)

DETOKENIZE = Ledger(
    "POST /detokenize",
    "",
    (
        _MODEL,
        honoured("tokens", "ids within the vocabulary"),
    ),
)
