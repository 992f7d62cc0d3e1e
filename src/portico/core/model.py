"""What is served, and how the server is doing."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    architecture: str
    dtype: str
    device: str
    vocab_size: int
    max_model_len: int
    eos_token_ids: tuple[int, ...]
    num_parameters: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine's load at one moment: sequences that run, jobs that wait, blocks of KV cache."""

    num_running: int
    num_waiting: int
    num_blocks: int
    num_free_blocks: int
    num_preemptions: int


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


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits that the operator set and that dialects report or check.

    Attributes:
        max_num_seqs: sequences that run at once.
        max_waiting: requests that wait before new ones are refused.
        max_choices: `n` and `best_of` at most.
        max_logprobs: most likely tokens per place at most.
        max_stop: stop strings at most.
    """

    max_num_seqs: int
    max_waiting: int
    max_choices: int
    max_logprobs: int
    max_stop: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What metadata routes report. `started_at` is Unix time in seconds."""

    version: str
    served: ServedModel
    model: ModelInfo
    limits: ServerLimits
    is_ready: bool
    started_at: int
    stats: EngineStats
