"""What the operator sets for the server itself; each engine has its own configuration beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from portico.core.model import ServerLimits
from portico.core.option import option


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Settings of `portico serve`; every field is a flag."""

    host: str = option("127.0.0.1", "address to listen on", metavar="ADDRESS")
    port: int = option(1025, "port to listen on", metavar="PORT")
    management_port: tuple[int, ...] = option(
        (), "further ports, with every path and those for operators too (--port itself may be one)", metavar="PORT"
    )
    management_host: str | None = option(
        None, "address of the management ports (default: that of --host)", metavar="ADDRESS"
    )
    grpc_port: int = option(8001, "port to listen on for Triton's gRPC, 0 is off", metavar="PORT")
    served_model_name: tuple[str, ...] = option(
        (),
        "names that requests may use; the first is given in answers, '*' accepts every name (default: the hub id, or "
        "the directory's name)",
        metavar="NAME",
    )
    revision: str | None = option(
        None, "branch, tag or commit of a model on the hub (default: main)", metavar="REVISION"
    )
    profile: str = option(
        "default", "flavour of the paths that several servers have", choices=("default", "mindie", "tgi")
    )
    engine: str = option("native", "what generates: the model, or a scripted fake", choices=("native", "scripted"))
    chat_template: str | None = option(
        None,
        "file with a Jinja chat template, instead of the checkpoint's",
        metavar="FILE",
        begins="prompts and answers",
    )
    enable_tokenizer_info_endpoint: bool = option(
        False, "serve GET /tokenizer_info: special tokens and the chat template"
    )
    trust_request_chat_template: bool = option(False, "render chat templates that come with requests")
    literal_content: str = option(
        "none",
        "where control tokens that clients write are plain text: in conversations (also when no value is given), in "
        "all text, or nowhere",
        choices=("none", "chat", "all"),
        bare="chat",
    )
    tool_call_parser: str = option(
        "auto",
        "how the model writes calls of tools; auto finds it in the chat template",
        choices=(
            "auto",
            "hermes",
            "qwen3_coder",
            "glm45",
            "llama3_json",
            "pythonic",
            "mistral",
            "deepseek_v3",
            "deepseek_v31",
            "granite",
            "phi4_mini_json",
            "apriel",
            "nemotron_json",
            "functionary",
            "qwen3_xml",
            "llama4_pythonic",
            "none",
        ),
    )
    reasoning_parser: str = option(
        "auto",
        "how reasoning before an answer is told from it: by <think> and </think>, by [THINK] and [/THINK] (mistral), "
        "or not; auto: if the chat template knows them",
        choices=("auto", "think", "mistral", "none"),
    )
    generation_config: str = option(
        "auto",
        "where the OpenAI routes take sampling defaults from: the checkpoint's generation_config.json, or 'vllm' for "
        "the documented ones",
        choices=("auto", "vllm"),
    )
    max_waiting: int = option(
        256, "sequences that may wait before new requests are refused", metavar="N", begins="limits"
    )
    max_choices: int = option(16, "choices of one request (n, best_of) at most", metavar="N")
    max_logprobs: int = option(20, "most likely tokens per place that a request may ask for", metavar="N")
    max_stop: int = option(16, "stop strings of one request at most", metavar="N")
    max_token_ids: int = option(1024, "ids in each list of tokens to allow, to bias or to stop at", metavar="N")
    max_messages: int = option(4096, "messages of a conversation and parts of their content, together", metavar="N")
    max_body_size: int = option(16 * 1024 * 1024, "bytes of a request body at most", metavar="BYTES")
    max_input_tokens: int | None = option(
        None, "tokens of a prompt at most, after truncation (default: all of the context but one)", metavar="TOKENS"
    )
    max_total_tokens: int | None = option(
        None, "tokens of prompt and output at most, TGI's name for --max-model-len", metavar="TOKENS"
    )
    tgi_profile: str = option(
        "strict",
        "TGI's own routes as they are, or without what users complain of",
        choices=("strict", "improved"),
        begins="clients of TGI and MindIE",
    )
    max_best_of: int | None = option(
        None, "best_of on TGI's own routes at most (default: 2; improved: --max-choices)", metavar="N"
    )
    max_stop_sequences: int | None = option(
        None, "stop strings on TGI's own routes at most (default: 4; improved: --max-stop)", metavar="N"
    )
    max_top_n_tokens: int | None = option(
        None, "top_n_tokens on TGI's own routes at most (default: 5; improved: --max-logprobs)", metavar="N"
    )
    max_client_batch_size: int | None = option(
        None, "prompts of one completion with --profile tgi (default: 4)", metavar="N"
    )
    mindie_config: str | None = option(
        None, "config.json of MindIE Service to take settings from; other flags go before it", metavar="FILE"
    )
    request_timeout: float = option(
        3600.0, "longest time of a request, 0 is without end", metavar="SECONDS", begins="times and connections"
    )
    queue_timeout: float = option(300.0, "longest time until a request is begun, 0 is without end", metavar="SECONDS")
    stall_timeout: float = option(
        300.0, "longest time without a token of a request that was begun, 0 is without end", metavar="SECONDS"
    )
    idle_timeout: float = option(75.0, "longest time of a connection without a request", metavar="SECONDS")
    max_connections: int = option(4096, "connections that are open at once on each port of HTTP", metavar="N")
    send_timeout: float = option(
        60.0,
        "longest time that a client may leave what is sent to it unread before it is cut off, 0 is without end",
        metavar="SECONDS",
    )
    drain_timeout: float = option(
        30.0, "time that running requests have left once the server is told to stop", metavar="SECONDS"
    )
    api_key: tuple[str, ...] = option(
        (),
        "key that requests must have; may be given several times (better: PORTICO_API_KEY)",
        metavar="KEY",
        is_secret=True,
        begins="keys and encryption",
    )
    max_auth_failures_per_minute: int = option(
        60,
        "requests without a right key from one address, 0 is any number; right keys are let in all the same",
        metavar="N",
    )
    api_key_file: str | None = option(None, "TOML file of named keys with their limits", metavar="FILE")
    allowed_host: tuple[str, ...] = option(
        (),
        "names in the Host header that are served besides the machine's own; with it, or on loopback addresses without "
        "keys, no others are",
        metavar="NAME",
    )
    allow_anonymous: bool = option(
        False, "listen on addresses that other machines reach without asking for keys or certificates"
    )
    tls_certificate: str | None = option(None, "certificate to serve HTTPS with, in PEM", metavar="FILE")
    tls_key: str | None = option(None, "key of the certificate", metavar="FILE")
    tls_client_ca: str | None = option(None, "authority that the certificates of clients must be from", metavar="FILE")
    log_level: str = option(
        "info", "least severe messages that are logged", choices=("debug", "info", "warning", "error"), begins="logs"
    )
    log_format: str = option("text", "form of a log line", choices=("text", "json"))

    def __post_init__(self) -> None:
        self._check_numbers()
        if self.max_input_tokens and self.max_total_tokens and self.max_input_tokens >= self.max_total_tokens:
            raise ValueError(
                f"max_input_tokens ({self.max_input_tokens}) must be less than max_total_tokens "
                f"({self.max_total_tokens})."
            )
        if self.max_client_batch_size is not None and self.profile != "tgi":
            raise ValueError("max_client_batch_size is for the completions of --profile tgi.")
        if bool(self.tls_certificate) is not bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key are given together.")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key: without them no client is checked.")

    def _check_numbers(self) -> None:
        for name in ("max_input_tokens", "max_total_tokens", "max_best_of", "max_stop_sequences"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, not {value}.")
        if self.max_client_batch_size is not None and self.max_client_batch_size < 1:
            raise ValueError(f"max_client_batch_size is at least 1, not {self.max_client_batch_size}.")
        for name in (
            "request_timeout",
            "queue_timeout",
            "stall_timeout",
            "send_timeout",
            "drain_timeout",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is a number of seconds, not {getattr(self, name)}.")
        if not 0 < self.idle_timeout < math.inf:
            raise ValueError(f"idle_timeout is more than 0 seconds, not {self.idle_timeout}.")
        if self.max_connections < 1:
            raise ValueError(f"max_connections is at least 1, not {self.max_connections}.")
        bounds = ("max_choices", "max_logprobs", "max_stop", "max_token_ids", "max_messages", "max_body_size")
        for name in ("max_waiting", "max_auth_failures_per_minute", *bounds):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is at least 0, not {getattr(self, name)}.")

    def limits(self, max_num_seqs: int, max_model_len: int) -> ServerLimits:
        """The limits that dialects check, with the engine's own."""
        return ServerLimits(
            max_num_seqs,
            self.max_waiting,
            self.max_choices,
            self.max_logprobs,
            self.max_stop,
            self.max_body_size,
            min(self.max_input_tokens or max_model_len, max_model_len - 1),
            self.max_token_ids,
            self.max_messages,
        )

    def tgi_limits(self) -> dict[str, Any]:
        """Those limits of TGI's routes that were given."""
        names = ("max_best_of", "max_stop_sequences", "max_top_n_tokens", "max_client_batch_size")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
