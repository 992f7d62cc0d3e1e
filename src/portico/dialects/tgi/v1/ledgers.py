"""Every field that TGI 3 documents for its OpenAI routes, and what happens to it."""

from __future__ import annotations

from portico.core.ledger import Ledger, honoured, neutral, refused

_SHARED = (
    honoured("model", "any name: one model answers; in a chat the answer has the name"),
    honoured("frequency_penalty", "relative, as on the native routes"),
    honoured("max_tokens", "absent is to the end of the context"),
    honoured("seed"),
    honoured("stop", "as on the native routes: it stays in the text; one string is taken as a list"),
    honoured("stream"),
    honoured("temperature", "0 is greedy; every other value draws, and so does none"),
    honoured("top_p", "1 is off, as OpenAI has it; TGI refuses it"),
)

CHAT = Ledger(
    "POST /v1/chat/completions (--profile tgi)",
    "",
    (
        honoured("messages", "a last one of the assistant is continued"),
        *_SHARED,
        honoured("logit_bias", "OpenAI's object; TGI ignores it"),
        honoured("logprobs"),
        honoured("top_logprobs", "up to the limit of top_n_tokens, with `logprobs`"),
        honoured("max_completion_tokens", "the same as `max_tokens`"),
        neutral("n", "there is one choice; TGI ignores it.", 1),
        honoured("presence_penalty", "OpenAI's; TGI takes it for a repetition penalty less 2"),
        honoured("repetition_penalty", "the client `text-generation` sends it; TGI ignores it"),
        honoured(
            "response_format", "TGI's grammar, OpenAI's forms, or `json_object` with a `schema` as LangChain asks"
        ),
        honoured("stream_options", "`include_usage`"),
        honoured("tools", "not together with `response_format`; the chat template must take them"),
        honoured("tool_choice", "also the name of a tool alone"),
        refused("tool_prompt", "the chat template tells the model of its tools."),
        honoured("add_generation_prompt", "an addition, as in /chat_tokenize"),
        honoured("continue_final_message", "an addition; true where the last message is the assistant's"),
        honoured("chat_template_kwargs", "an addition: variables that the chat template may read"),
    ),
)

COMPLETION = Ledger(
    "POST /v1/completions (--profile tgi)",
    "",
    (
        honoured("prompt", "a string, or a list of at most --max-client-batch-size ones"),
        *_SHARED,
        honoured("repetition_penalty"),
        refused("suffix", "it can be achieved by preprocessing the prompt."),
    ),
)

ALL = (CHAT, COMPLETION)
