"""Every field that MindIE Service documents for its native routes, and what happens to it."""

from __future__ import annotations

from portico.core.ledger import Ledger, honoured, neutral

BODY = Ledger(
    "POST /infer and /infer_token",
    "",
    (
        honoured("inputs", "the prompt, one string; not together with input_id"),
        honoured("input_id", "the prompt as token ids; not together with inputs"),
        honoured("stream"),
        honoured("parameters"),
    ),
)

PARAMETERS = Ledger(
    "Parameters of /infer and /infer_token",
    "parameters",
    (
        neutral("adapter_id", "no adapters are served; leave it out for the base model.", "None"),
        honoured("details"),
        honoured("do_sample", "temperature, top_k, top_p and typical_p turn sampling on as well"),
        honoured("frequency_penalty", "an addition"),
        honoured("ignore_eos", "an addition"),
        honoured("include_stop_str_in_output", "an addition"),
        honoured("max_new_tokens", "absent is 20; cut to the context"),
        honoured("min_new_tokens", "an addition"),
        honoured("presence_penalty", "an addition"),
        neutral("priority", "requests are served in order; the answer is the same."),
        honoured("repetition_penalty"),
        honoured("seed", "negative seeds count from 2**64 downwards"),
        honoured("skip_special_tokens", "an addition"),
        honoured("stop", "an addition: a string or a list"),
        honoured("stop_token_ids", "an addition"),
        honoured("temperature", "0 is greedy"),
        honoured("timeout", "seconds, 1 to 65535, at most those of `--request-timeout`"),
        honoured("top_k", "0 and -1 are off"),
        honoured("top_p", "1 is off"),
        honoured("truncate", "an addition: keeps the last tokens of the prompt"),
        honoured("typical_p"),
        honoured("watermark", "gamma 0.5, delta 2.0, hash key 15485863"),
    ),
)

TOKENIZER = Ledger(
    "POST /v1/tokenizer",
    "",
    (
        honoured("inputs", "the text, one string"),
        honoured("do_decode", "the tokens are given as text; absent is true"),
    ),
)

STOP = Ledger(
    "POST /v2/models/{model}/stopInfer",
    "",
    (honoured("id", "the id of a running request to /v2/models/{model}/infer, generate or generate_stream"),),
)

ALL = (BODY, PARAMETERS, TOKENIZER, STOP)
