"""What happens to every field that the OpenAI API documents, and to those that open servers add to it."""

from __future__ import annotations

from portico.core.ledger import Entry, Ledger, honoured, neutral, refused

_NO_FUNCTIONS = "use `tools` and `tool_choice`."

_SHARED: tuple[Entry, ...] = (
    honoured("model", "may be absent, or what TGI's clients send by themselves, `tgi` and `dummy`: the served model"),
    honoured("n", "up to the server's limit"),
    honoured("temperature", "0 to 2; 0 is greedy; absent: what the checkpoint's generation_config.json says, else 1"),
    honoured("top_p", "greater than 0, up to 1; absent: the checkpoint's, else 1"),
    honoured("presence_penalty", "-2 to 2, over the output"),
    honoured("frequency_penalty", "-2 to 2, over the output"),
    honoured("logit_bias", "-100 to 100 per token id"),
    honoured("seed", "64 bits; choice i draws with seed + i"),
    honoured("stop", "a string, or a list up to the server's limit of 16"),
    honoured("max_tokens", "cut to what fits the context, and to the checkpoint's `max_new_tokens`"),
    honoured("stream"),
    honoured("stream_options"),
    neutral("user", "a remark for the provider's records"),
)

_SHARED_ADDED: tuple[Entry, ...] = (
    honoured("top_k", "-1 and 0 are off; absent: the checkpoint's, else off"),
    honoured("min_p", "0 to 1; absent: the checkpoint's, else 0"),
    honoured("repetition_penalty", "greater than 0, over prompt and output; absent: the checkpoint's, else 1"),
    honoured("min_tokens"),
    honoured("stop_token_ids"),
    honoured("include_stop_str_in_output"),
    honoured("ignore_eos"),
    honoured("skip_special_tokens"),
    honoured(
        "truncate_prompt_tokens", "so many tokens of the prompt stay; -1: as many as leave room for one of output"
    ),
    honoured("truncation_side", "`left` keeps the end of the prompt, `right` its beginning; absent: `left`"),
    honoured("allowed_token_ids", "only these are drawn; not empty"),
    honoured("bad_words", "at most 128; their spellings at the start of a text and after a space are not completed"),
    honoured("prompt_logprobs", "up to the server's limit, not streamed"),
    honoured("return_token_ids", "`token_ids` and `prompt_token_ids`"),
    honoured("return_tokens_as_token_ids", "log-probabilities name a token `token_id:7`"),
    neutral("session_id", "a remark for routing between servers"),
    neutral("priority", "there is one queue, served in the order of arrival.", 0),
    neutral("use_beam_search", "there is no beam search; use `n`, or `best_of` on /v1/completions.", False),
    neutral("length_penalty", "it belongs to beam search.", 1.0),
    neutral("early_stopping", "it belongs to beam search.", False),
    neutral("spaces_between_special_tokens", "special tokens are separated by the tokenizer alone.", True),
    neutral("stream_interval", "every step is sent.", 1),
    refused("logprob_token_ids", "log-probabilities of chosen tokens are not available."),
    honoured("structured_outputs", "the whole output has one form; not with `response_format`"),
    honoured("guided_json", "the older name of `structured_outputs.json`"),
    honoured("guided_regex", "the older name of `structured_outputs.regex`"),
    honoured("guided_choice", "the older name of `structured_outputs.choice`"),
    honoured("guided_grammar", "the older name of `structured_outputs.grammar`"),
    neutral("guided_decoding_backend", "there is one implementation"),
    honoured("guided_whitespace_pattern", "the older name of `structured_outputs.whitespace_pattern`"),
    refused("logits_processors", "code in requests is not run."),
    refused("thinking_token_budget", "reasoning is not limited apart from the answer."),
    refused("repetition_detection", "repetition does not end a choice."),
    refused("prompt_embeds", "prompts are text or token ids."),
    honoured("cache_salt", "requests share cached prompts only with the same salt; at most 128 characters"),
    honoured("request_id", "names the answer (`chatcmpl-...`, `cmpl-...`); the header `X-Request-Id` goes before it"),
    refused("vllm_xargs", "there are no further engine arguments."),
    refused("kv_transfer_params", "key-value blocks are not transferred between servers."),
    refused("ec_transfer_params", "encoder states are not transferred between servers."),
    neutral("watermarking", "outputs are not watermarked here.", False),
    neutral("routed_experts_prompt_start", "routed experts are not told.", 0),
    neutral("return_token_offsets", "it belongs to the render routes.", False),
    neutral("mm_payload", "it belongs to the render routes"),
    neutral("return_mm_kwargs", "it belongs to the render routes"),
)


def added(*names: str) -> tuple[Entry, ...]:
    """Those of the fields that open servers add to both routes, for a route that has only some of them."""
    return tuple(entry for entry in (*_SHARED, *_SHARED_ADDED) if entry.field in names)


CHAT = Ledger(
    "POST /v1/chat/completions",
    "",
    (
        honoured("messages", "text only; other keys of a message go to the chat template"),
        honoured("max_completion_tokens", "wins over `max_tokens`"),
        honoured("logprobs"),
        honoured("top_logprobs", "0 up to the server's limit of 20, with `logprobs`"),
        *_SHARED,
        neutral("safety_identifier", "a remark for the provider's records"),
        neutral("metadata", "a remark for the provider's records"),
        neutral("prompt_cache_key", "a hint for speed"),
        neutral("prompt_cache_options", "a hint for speed"),
        neutral("prompt_cache_retention", "a hint for speed"),
        neutral("prediction", "a hint for speed"),
        neutral("store", "completions are not stored.", False),
        honoured("service_tier", "there is one, `default`; the answer says that it was used, whichever was asked for"),
        neutral("modalities", "answers are text.", ["text"]),
        honoured("response_format", "enforced, in streams too"),
        honoured(
            "tools", "functions; `strict` needs a forced call; all are refused where the chat template takes none"
        ),
        honoured(
            "tool_choice",
            "`none` (the model is not told of tools), `auto`, `required`, a function or allowed tools; a forced call "
            "is the whole answer, one call with arguments of its schema",
        ),
        honoured("parallel_tool_calls", "with false the answer ends with its first call"),
        neutral("function_call", _NO_FUNCTIONS, "none"),
        honoured("reasoning_effort", "the chat template may read it, and with `none` `enable_thinking` as false"),
        neutral("verbosity", "the length of answers cannot be steered.", "medium"),
        refused("functions", _NO_FUNCTIONS),
        refused("audio", "answers are text."),
        refused("moderation", "answers are not moderated."),
        refused("web_search_options", "there is no web search."),
        *_SHARED_ADDED,
        neutral("best_of", "use `n`, or /v1/completions.", 1),
        honoured("echo", "the last message before the answer, if it is the assistant's or is continued"),
        honoured("add_generation_prompt", "absent: true"),
        honoured("continue_final_message", "the prompt ends with the last message's content"),
        honoured("add_special_tokens", "absent: false, the chat template writes them"),
        honoured("chat_template_kwargs", "variables that the chat template may read; not those it has already"),
        honoured("chat_template", "refused unless the server was started with --trust-request-chat-template"),
        honoured("include_reasoning", "absent: true; with false `reasoning` is left out of the answer"),
        refused("documents", "the chat template takes no documents."),
        honoured("return_prompt_text", "`prompt_text`, what the chat template wrote, in a stream in the first chunk"),
        refused("mm_processor_kwargs", "messages are text."),
        refused("media_io_kwargs", "messages are text."),
    ),
)

COMPLETION = Ledger(
    "POST /v1/completions",
    "",
    (
        honoured("prompt", "text, token ids, or a list of either"),
        honoured("best_of", "at least `n`; ranked by mean log-probability; not streamed when greater than `n`"),
        honoured("echo", "with it `max_tokens` may be 0: the prompt is only evaluated"),
        honoured("logprobs", "0 up to the server's limit of 20"),
        *_SHARED,
        refused("suffix", "text cannot be inserted before an ending."),
        *_SHARED_ADDED,
        honoured("add_special_tokens"),
        honoured("response_format", "an addition, as in /v1/chat/completions"),
    ),
)

STREAM_OPTIONS = Ledger(
    "stream_options",
    "stream_options",
    (
        honoured("include_usage"),
        neutral("include_obfuscation", "events are not padded.", False),
        honoured("continuous_usage_stats", "with `include_usage`: every chunk has the counts so far"),
    ),
)
