"""Every field that TGI 3 documents for its generating routes, and what happens to it."""

from __future__ import annotations

from portico.core.ledger import Entry, Ledger, honoured, neutral, refused
from portico.dialects.tgi.grammar import GRAMMAR, GRAMMAR_VALUE


def _body(title: str, stream: Entry) -> Ledger:
    entries = (
        honoured("inputs", "the prompt, one string; special tokens are added as the tokenizer does"),
        honoured("parameters", "an absent object means do_sample: true; a present one means do_sample: false"),
        stream,
    )
    return Ledger(title, "", entries)


GENERATE = _body(
    "POST /generate and /tokenize",
    neutral("stream", "this path answers at once; POST to /generate_stream for a stream.", False),
)
GENERATE_STREAM = _body(
    "POST /generate_stream",
    neutral("stream", "this path always streams; POST to /generate for an answer at once.", True),
)
ROOT = _body("POST / and /invocations", honoured("stream", "selects between a one-element array and a stream"))

PARAMETERS = Ledger(
    "Parameters of /, /invocations, /generate, /generate_stream and /tokenize",
    "parameters",
    (
        neutral("adapter_id", "no adapters are served; leave it out for the base model.", "None"),
        honoured("best_of", "the continuation with the highest mean logprob wins; not in streams, not with a seed"),
        honoured("decoder_input_details", "fills details.prefill with the prompt's tokens; not in streams"),
        honoured("details"),
        honoured("do_sample", "a temperature other than 1, top_k, top_p or typical_p turn sampling on as well"),
        honoured("frequency_penalty", "relative: the share of prompt and output that the token already makes up"),
        honoured("grammar", "JSON and regular expressions; keywords that cannot be enforced are refused"),
        honoured("ignore_eos", "an addition: the end-of-sequence token does not end the output"),
        honoured("max_new_tokens", "absent is to the end of the context; over 1024 it is cut to the context"),
        honoured("min_new_tokens", "an addition: neither end of sequence nor stop string before so many tokens"),
        honoured("repetition_penalty"),
        honoured("return_full_text", "absent is true on / and false elsewhere"),
        honoured("seed"),
        honoured(
            "stop",
            "matched where a token ends with it, at any position with --tgi-profile improved; it stays in the text; "
            "one string is taken as a list",
        ),
        honoured("stop_sequences", "the older name of stop"),
        honoured("temperature"),
        honoured("top_k"),
        honoured("top_n_tokens", "fills top_tokens"),
        honoured("top_p"),
        honoured("truncate", "keeps the last tokens of the prompt; no effect in /tokenize"),
        honoured("typical_p"),
        honoured("watermark", "gamma 0.5, delta 2.0, hash key 15485863"),
    ),
)

_UNREAD = "the tokens of the conversation do not depend on it."

CHAT_TOKENIZE = Ledger(
    "POST /chat_tokenize",
    "",
    (
        honoured("messages", "as in /v1/chat/completions"),
        honoured("add_generation_prompt", "an addition; absent is true"),
        honoured("continue_final_message", "an addition: the prompt ends with the last message's content"),
        honoured("chat_template_kwargs", "an addition: variables that the chat template may read"),
        neutral("model", "there is one model."),
        *(
            neutral(name, _UNREAD)
            for name in (
                "frequency_penalty",
                "logit_bias",
                "logprobs",
                "max_tokens",
                "n",
                "presence_penalty",
                "response_format",
                "seed",
                "stop",
                "stream",
                "stream_options",
                "temperature",
                "top_logprobs",
                "top_p",
            )
        ),
        honoured("tools", "the chat template must take them"),
        honoured("tool_choice", "with `none` the model is not told of tools"),
        refused("tool_prompt", "the chat template tells the model of its tools."),
    ),
)

ALL = (GENERATE, GENERATE_STREAM, ROOT, PARAMETERS, GRAMMAR, GRAMMAR_VALUE, CHAT_TOKENIZE)
