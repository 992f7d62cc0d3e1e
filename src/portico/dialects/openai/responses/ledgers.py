"""What happens to every field of the Responses API."""

from __future__ import annotations

from portico.core.ledger import Entry, Ledger, honoured, neutral, refused
from portico.dialects.openai.ledgers import added

_NO_STORE = "responses are not stored; send the whole conversation in `input`."

_PROMPT: tuple[Entry, ...] = (
    honoured("model", "may be absent: the served model"),
    honoured("input", "text, or items: messages of text, function calls and their outputs, reasoning"),
    honoured("instructions", "the system message before the others"),
    honoured("reasoning"),
    honoured("text"),
    honoured("tools", "functions; `strict` needs a forced call and is false where absent"),
    honoured("tool_choice", "`none`, `auto`, `required`, a function or allowed tools, as in /v1/chat/completions"),
    honoured("parallel_tool_calls", "with false the answer ends with its first call"),
    neutral("truncation", "a conversation that is too long is refused.", "disabled"),
    refused("previous_response_id", _NO_STORE),
    refused("conversation", _NO_STORE),
    honoured("chat_template_kwargs", "an addition: variables that the chat template may read"),
)

# What open servers take here besides, with the same meaning as on the other routes.
_ADDED = (
    *added("top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "seed"),
    *added("stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "skip_special_tokens", "cache_salt"),
    *added("structured_outputs", "priority", "session_id", "vllm_xargs", "watermarking"),
    *added("kv_transfer_params", "ec_transfer_params", "mm_payload", "return_mm_kwargs"),
    honoured("include_reasoning", "absent: true; with false the answer has no items of reasoning"),
    neutral("enable_response_messages", "the prompt is not told; send it to /tokenize.", False),
    refused("request_id", "answers are named by the server."),
    refused("previous_input_messages", "send the whole conversation in `input`."),
    refused("mm_processor_kwargs", "messages are text."),
    refused("media_io_kwargs", "messages are text."),
)

RESPONSE = Ledger(
    "POST /v1/responses",
    "",
    (
        *_PROMPT,
        honoured("max_output_tokens", "cut to what fits the context, and to the checkpoint's `max_new_tokens`"),
        honoured("temperature", "0 to 2; 0 is greedy; absent: the checkpoint's, else 1"),
        honoured("top_p", "greater than 0, up to 1; absent: the checkpoint's, else 1"),
        honoured("stream", "the events of messages, reasoning and function calls"),
        honoured("metadata", "a remark, repeated in the answer"),
        honoured("user", "a remark, repeated in the answer"),
        neutral("safety_identifier", "a remark for the provider's records"),
        neutral("prompt_cache_key", "a hint for speed"),
        neutral("prompt_cache_options", "a hint for speed"),
        neutral("prompt_cache_retention", "a hint for speed"),
        neutral("stream_options", "events are not padded.", {}, {"include_obfuscation": False}),
        neutral("store", _NO_STORE, False),
        neutral("background", "answers are given at once.", False),
        honoured("service_tier", "there is one, `default`, as every answer says"),
        honoured("include", "`message.output_text.logprobs`; `reasoning.encrypted_content` changes nothing"),
        honoured(
            "top_logprobs", "0 up to the server's limit of 20; more than 0 with the `include` of log-probabilities"
        ),
        refused("access_programs", "there are none."),
        refused("background_options", "answers are given at once."),
        refused("context_management", "conversations are not edited."),
        refused("image", "answers are text."),
        neutral("max_tool_calls", "it limits tools that a server calls by itself, which this one does not"),
        refused("moderation", "answers are not moderated."),
        refused("prompt", "there are no stored prompts."),
        *_ADDED,
    ),
)

INPUT_TOKENS = Ledger(
    "POST /v1/responses/input_tokens", "", (*_PROMPT, refused("personality", "the model has one personality."))
)

REASONING = Ledger(
    "reasoning",
    "reasoning",
    (
        honoured("effort", "the chat template may read it, and with `none` `enable_thinking` as false"),
        neutral("summary", "reasoning is given whole where there is any, without a summary"),
        neutral("generate_summary", "reasoning is given whole where there is any, without a summary"),
        neutral("context", "reasoning of earlier turns is in `input`.", "auto"),
        neutral("mode", "there is one mode.", "standard"),
    ),
)

TEXT_FORMAT = Ledger(
    "text.format",
    "text.format",
    (
        honoured("type", "`text`, `json_object`, `json_schema`"),
        honoured("name", "with a schema, letters, digits, `_` and `-`, at most 64"),
        honoured("schema", "enforced; keywords that cannot be are refused"),
        neutral("strict", "schemas are enforced in either case"),
        neutral("description", "a remark for the model, which is told of no schema"),
    ),
)

TEXT = Ledger(
    "text",
    "text",
    (
        honoured("format", "`text`, `json_object`, or `json_schema`, which is enforced"),
        neutral("verbosity", "the length of answers cannot be steered.", "medium"),
    ),
)
