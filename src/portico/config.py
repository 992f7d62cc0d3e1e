"""What the operator sets for the server itself; each engine has its own configuration beside it."""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.model import ServerLimits
from portico.core.option import option


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Settings of `portico serve`; every field is a flag."""

    host: str = option("127.0.0.1", "address to listen on")
    port: int = option(1025, "port to listen on")
    grpc_port: int = option(8001, "port to listen on for Triton's gRPC, 0 is off")
    served_model_name: tuple[str, ...] = option(
        (), "names that requests may use; the first is given in answers, '*' accepts every name", metavar="NAME"
    )
    revision: str | None = option(None, "branch, tag or commit of a model on the hub")
    profile: str = option("default", "flavour of the paths that several servers have", choices=("default", "mindie"))
    chat_template: str | None = option(
        None, "file with a Jinja chat template, instead of the checkpoint's", metavar="FILE"
    )
    engine: str = option("native", "what generates: the model, or a scripted fake", choices=("native", "scripted"))
    max_waiting: int = option(256, "sequences that may wait before new requests are refused")
    max_choices: int = option(16, "choices of one request (n, best_of) at most")
    max_logprobs: int = option(20, "most likely tokens per place that a request may ask for")
    max_stop: int = option(16, "stop strings of one request at most")
    max_body_size: int = option(16 * 1024 * 1024, "bytes of a request body at most")
    log_level: str = option(
        "info", "least severe messages that are logged", choices=("debug", "info", "warning", "error")
    )
    log_format: str = option("text", "form of a log line", choices=("text", "json"))

    def limits(self, max_num_seqs: int) -> ServerLimits:
        """The limits that dialects check, with the engine's own."""
        return ServerLimits(
            max_num_seqs, self.max_waiting, self.max_choices, self.max_logprobs, self.max_stop, self.max_body_size
        )
