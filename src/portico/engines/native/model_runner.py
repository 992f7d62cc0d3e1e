"""What turns scheduled steps into forward passes."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from portico.engines.native.decoder import DecoderConfig
from portico.engines.native.drawing import Drawing
from portico.engines.native.scheduler import Step


class ModelRunner(Protocol):
    """A loaded model with its KV cache; tensors are on the model's device and valid until the next call.

    Attributes:
        drawing: draws tokens from logits.
        is_exact: what a decode step computes of a token has the same bits as what a prefill computes of it.
    """

    drawing: Drawing
    is_exact: bool

    @property
    def config(self) -> DecoderConfig:
        """The sizes of the model."""

    def progress(self) -> object:
        """Something that differs from what it was if a running step has got on since, at least once in a layer.

        Any thread may ask.
        """

    def evaluate(self, step: Step) -> Tensor:
        """Evaluates a step; one with both prompts and sequences, or with drafts, only if the runner is exact.

        Returns:
            Hidden states [rows, hidden]: the rows of the chunks one after another, and then those of the sequences, of
            each its last token and its draft.
        """

    def logits(self, hidden: Tensor, rows: list[int]) -> Tensor:
        """Logits [rows, vocab] of some rows of hidden states."""

    def best(self, hidden: Tensor, rows: list[int]) -> list[int]:
        """The tokens with the highest of these logits, the first one of equals."""
