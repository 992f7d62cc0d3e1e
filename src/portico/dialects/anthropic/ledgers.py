"""What happens to every field that the Anthropic API documents."""

from __future__ import annotations

from portico.core.ledger import Entry, Ledger, honoured, neutral, refused

_PROMPT: tuple[Entry, ...] = (
    honoured("model", "may be absent: the served model"),
    honoured("messages", "text, tool calls, their results, thinking; a last one of the assistant is continued"),
    honoured("system", "text, or a list of text blocks"),
    honoured("tools", "functions; `strict` needs a forced call; all are refused where the chat template takes none"),
    honoured(
        "tool_choice",
        "`none` (the model is not told of tools), `auto`, `any` or a tool; a forced call is the whole answer, one call "
        "with arguments of its schema",
    ),
    honoured(
        "thinking",
        "`disabled` and `adaptive` are told to the chat template; a budget is refused; there are no signatures",
    ),
    honoured("output_config"),
    neutral("cache_control", "a hint for speed"),
    neutral("speed", "there is one speed.", "standard"),
    neutral("user_profile_id", "a remark for the provider's records"),
    neutral("workspace_id", "a remark for the provider's records"),
    honoured("chat_template_kwargs", "an addition of open servers: variables that the chat template may read"),
)

MESSAGES = Ledger(
    "POST /v1/messages",
    "",
    (
        *_PROMPT,
        honoured("max_tokens", "required; cut to what fits the context, and to the checkpoint's `max_new_tokens`"),
        honoured("stop_sequences", "up to the server's limit"),
        honoured("stream"),
        honoured("temperature", "0 to 1; 0 is greedy; absent: the checkpoint's `generation_config.json`, else 1"),
        honoured("top_p", "greater than 0, up to 1; absent: the checkpoint's, else 1"),
        honoured("top_k", "0 is off; absent: the checkpoint's, else off"),
        neutral("metadata", "a remark for the provider's records"),
        neutral("service_tier", "there is one tier.", "auto", "standard_only"),
        neutral("betas", "a remark; a field that only a beta has is refused by itself"),
        refused("container", "there are no containers."),
        refused("context_management", "conversations are not edited."),
        refused("diagnostics", "there are no diagnostics."),
        refused("fallbacks", "there is one model."),
        refused("inference_geo", "there is one place."),
        refused("mcp_servers", "the server calls no other servers."),
        honoured("cache_salt", "an addition of open servers: cached prompts are shared only with the same salt"),
        neutral("watermarking", "outputs are not watermarked here.", False),
        neutral("mm_payload", "it belongs to the render routes of open servers"),
        neutral("return_mm_kwargs", "it belongs to the render routes of open servers"),
        refused("vllm_xargs", "there are no further engine arguments."),
        refused("kv_transfer_params", "key-value blocks are not transferred between servers."),
        refused("ec_transfer_params", "encoder states are not transferred between servers."),
    ),
)

OUTPUT_CONFIG = Ledger(
    "output_config",
    "output_config",
    (
        honoured("effort", "the chat template may read it as `reasoning_effort`"),
        honoured("format", "a JSON schema; the whole text is held to it"),
        refused("task_budget", "a budget over several requests is not kept."),
    ),
)

COUNT = Ledger(
    "POST /v1/messages/count_tokens",
    "",
    (
        *_PROMPT,
        neutral("betas", "a remark; a field that only a beta has is refused by itself"),
        refused("context_management", "conversations are not edited."),
        refused("mcp_servers", "the server calls no other servers."),
    ),
)
