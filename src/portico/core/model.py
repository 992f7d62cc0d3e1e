"""What is served, and how the server is doing."""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.errors import UnknownModel


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model as an engine knows it.

    Attributes:
        architecture: the class name in the checkpoint's config.json.
        dtype: how the weights are held, in torch's words (`float32`).
        device: where they are held (`cpu`).
        vocab_size: width of the logits.
        max_model_len: prompt and output tokens that fit together.
        eos_token_ids: tokens that end a sequence by themselves.
        num_parameters: count of weights.
        takes_grammars: whether outputs can be held to a grammar.
        reads_prompts: whether it looks tokens of prompts up, so that they must be below `vocab_size`.
    """

    architecture: str
    dtype: str
    device: str
    vocab_size: int
    max_model_len: int
    eos_token_ids: tuple[int, ...]
    num_parameters: int
    takes_grammars: bool = False
    reads_prompts: bool = True


@dataclass(frozen=True, slots=True)
class DraftCounts:
    """Tokens that an engine guessed and checked in steps that were due anyway.

    Attributes:
        num_drafts: times that a sequence's next tokens were guessed.
        num_tokens: tokens that were guessed.
        accepted_by_position: guesses that saved a step, by their place behind the sequence's last token.
    """

    num_drafts: int
    num_tokens: int
    accepted_by_position: tuple[int, ...]

    @property
    def num_accepted(self) -> int:
        """Guesses that saved a step."""
        return sum(self.accepted_by_position)


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """What an engine on a CPU takes of the machine's memory, in bytes.

    Attributes:
        weights: all weights as they are held, with their scales.
        kv_cache: what the whole KV cache takes; pages of it that were never used take nothing yet.
        base: the engine's process before it read any weights: the interpreter and its libraries.
        peak: the most that its process has taken so far.
    """

    weights: int
    kv_cache: int
    base: int
    peak: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine's load at one moment: sequences that run, jobs that wait, blocks of KV cache of `block_size` tokens.

    `num_restarts` is how often the engine had to be started again; `drafts` is None where nothing is ever guessed,
    `memory` where the engine has none of the machine's of its own.
    """

    num_running: int
    num_waiting: int
    num_blocks: int
    num_free_blocks: int
    num_preemptions: int
    block_size: int = 1
    num_restarts: int = 0
    drafts: DraftCounts | None = None
    memory: EngineMemory | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The names a model answers to.

    `names[0]` is the model's own name, given in every answer; the rest are aliases. With `accepts_any_name` every name
    is right.
    """

    names: tuple[str, ...]
    accepts_any_name: bool
    path: str

    @property
    def name(self) -> str:
        """The name in answers."""
        return self.names[0]

    def answers_to(self, name: str) -> bool:
        """Whether a request for `name` is for this model."""
        return self.accepts_any_name or name in self.names

    def require(self, name: str | None) -> None:
        """Accepts the name of a request; None is whatever is served.

        Raises:
            UnknownModel: another model is meant.
        """
        if name is not None and not self.answers_to(name):
            raise UnknownModel(name, self.names)


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a checkpoint's authors advise to sample with, where a request says nothing.

    `max_tokens` limits the output of every request; None in any field is no advice.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None


NO_ADVICE = SamplingDefaults()


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits that the operator set and that dialects report or check.

    Attributes:
        max_num_seqs: sequences that run at once.
        max_waiting: requests that wait before new ones are refused.
        max_choices: `n` and `best_of` at most.
        max_logprobs: most likely tokens per place at most.
        max_stop: stop strings at most.
        max_body_size: bytes of a request body at most, also after it was decompressed.
        max_prompt_tokens: tokens of a prompt at most; None where the dialects need not know.
        max_token_ids: ids in each list of tokens to allow, to bias or to stop at.
        max_messages: messages of a conversation and parts of their content, together.
    """

    max_num_seqs: int
    max_waiting: int
    max_choices: int
    max_logprobs: int
    max_stop: int
    max_body_size: int = 16 * 1024 * 1024
    max_prompt_tokens: int | None = None
    max_token_ids: int = 1024
    max_messages: int = 4096


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Generating requests since the start, and the seconds they took together.

    Attributes:
        num_answered: requests that were answered.
        num_failed: requests that were begun, and then broken off by an error.
        num_cancelled: requests that were begun, and then left by their client.
        num_rejected: requests that were not begun, since the server was busy or not ready.
        last_answered_at: Unix time in seconds when one was last answered; 0 is never.
        answered_seconds: from receipt to the end, of those answered; the following are its parts.
        prepare_seconds: until the request was with the engine.
        queue_seconds: in the engine's queue.
        generate_seconds: from there to the last token.
        deliver_seconds: from there to the end of the answer.
        failed_seconds: from receipt to the end, of those that failed or were cancelled.
    """

    num_answered: int = 0
    num_failed: int = 0
    num_cancelled: int = 0
    num_rejected: int = 0
    last_answered_at: float = 0.0
    answered_seconds: float = 0.0
    prepare_seconds: float = 0.0
    queue_seconds: float = 0.0
    generate_seconds: float = 0.0
    deliver_seconds: float = 0.0
    failed_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RecentLatencies:
    """Means over the latest requests, in seconds: until the first token, and between tokens; 0 before there are any."""

    first_token: float = 0.0
    between_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What metadata routes report.

    `started_at` is Unix time in seconds, `num_requests` those that are being answered. `log_level` is the least severe
    kind of messages that are logged: debug, info, warning or error. `is_stopping` lets nothing new in.
    """

    version: str
    served: ServedModel
    model: ModelInfo
    limits: ServerLimits
    is_ready: bool
    started_at: int
    stats: EngineStats
    num_requests: int
    counts: RequestCounts = RequestCounts()
    latencies: RecentLatencies = RecentLatencies()
    log_level: str = "info"
    is_stopping: bool = False
