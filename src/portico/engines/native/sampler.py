"""Draws the next token of each sequence of a batch.

The steps run in the order that `core.request.Sampling` gives; stop tokens that `min_tokens` forbids go with the tokens
that are not allowed. A step costs nothing when no sequence asks for it, and touches only the rows that do: what a
sequence draws depends on its own logits and generator alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from portico.engines.native import warpers
from portico.engines.native.drawing import Choice, Draw, Drawing
from portico.engines.native.grammar import Constraint, GrammarMasks
from portico.engines.native.restriction import Restriction, is_restricted
from portico.engines.native.sequence import Sequence
from portico.engines.native.token_counts import TokenCounts
from portico.engines.native.watermark import green_ids

_BEST = Choice()
# Below it scores divided by the temperature are no float32 any more; what is drawn is the best token anyway.
_MIN_TEMPERATURE = 1e-20


@dataclass(slots=True)
class SamplerState:
    """What the sampler remembers of a sequence.

    Attributes:
        generator: None for a greedy sequence.
        bias: token ids [n] and what is added to their logits [n].
        restriction: None when every token may be drawn.
        stop_ids: [n] the stop tokens, to be forbidden before `min_tokens`.
        counts: of the tokens so far, kept only for penalties.
        constraint: where the sequence is in its grammar; None for free text.
    """

    generator: torch.Generator | None
    bias: tuple[Tensor, Tensor] | None
    restriction: Restriction | None
    stop_ids: Tensor | None
    counts: TokenCounts | None
    constraint: Constraint | None = None


class _Row(NamedTuple):
    place: int
    sequence: Sequence
    state: SamplerState


class Sampler:
    """Samples on the device of the logits."""

    def __init__(self, vocab_size: int, device: torch.device, drawing: Drawing) -> None:
        self._vocab_size = vocab_size
        self._device = device
        self._drawing = drawing
        self._masks = GrammarMasks(vocab_size)

    @torch.inference_mode()
    def sample(self, logits: Tensor, sequences: list[Sequence]) -> list[Draw]:
        """Draws one token per row of logits [rows, vocab]; `sequences` has one per row."""
        rows = [_Row(index, each, self._state_of(each)) for index, each in enumerate(sequences)]
        logits = logits.float()
        scores = self._change(logits, rows) if any(_is_changed(row) for row in rows) else logits
        draws = self._drawing.draw(scores, [_choice(row) for row in rows])
        for row, draw in zip(rows, draws, strict=True):
            if row.state.counts is not None:
                row.state.counts.add(draw.token_id)
        return self._with_raw_logprobs(logits, rows, draws)

    def renew(self, sequence: Sequence) -> None:
        """Brings the state of a sequence to where it was after the last token that it has got.

        Raises:
            GrammarError: its grammar cannot be followed.
        """
        state = sequence.sampler_state = self._new_state(sequence)
        for token_id in sequence.output_ids:
            if state.generator is not None:
                torch.rand(1, generator=state.generator, dtype=torch.float64)
            if state.counts is not None:
                state.counts.add(token_id)
            if state.constraint is not None:
                state.constraint.advance(token_id)

    def _state_of(self, sequence: Sequence) -> SamplerState:
        if sequence.sampler_state is None:
            sequence.sampler_state = self._new_state(sequence)
        return sequence.sampler_state

    def _new_state(self, sequence: Sequence) -> SamplerState:
        request = sequence.job.request
        sampling = request.sampling
        generator = None
        if not sampling.is_greedy:
            generator = torch.Generator().manual_seed(sequence.seed % (1 << 64))
        bias = None
        if sampling.logit_bias:
            ids, values = zip(*sampling.logit_bias, strict=True)
            bias = (torch.tensor(ids, device=self._device), torch.tensor(values, device=self._device).float())
        stop_ids = None
        if request.min_tokens and request.stop_token_ids:
            known = sorted(token_id for token_id in request.stop_token_ids if token_id < self._vocab_size)
            stop_ids = torch.tensor(known, dtype=torch.int64, device=self._device)
        restriction = None
        if is_restricted(sampling):
            restriction = Restriction(sampling, self._vocab_size, self._device)
        beginning = sequence.job.constraint
        constraint = None if beginning is None else beginning.fork()
        counts = TokenCounts(request.token_ids, request.max_tokens) if _has_penalties(sequence) else None
        return SamplerState(generator, bias, restriction, stop_ids, counts, constraint)

    def _change(self, logits: Tensor, rows: list[_Row]) -> Tensor:
        scores = logits.clone()
        for row in rows:
            if row.state.bias is not None:
                scores[row.place].index_add_(0, *row.state.bias)
            if row.state.restriction is not None:
                row.state.restriction.forbid(scores[row.place])
            if row.state.stop_ids is not None and row.sequence.num_output_tokens < row.sequence.job.request.min_tokens:
                scores[row.place, row.state.stop_ids] = -torch.inf
            watermark = row.sequence.job.request.sampling.watermark
            if watermark is not None:
                green = green_ids(watermark, row.sequence.token_ids[-1], self._vocab_size).to(self._device)
                scores[row.place, green] += watermark.delta
        self._constrain(scores, logits, rows)
        for row in rows:
            if row.state.restriction is not None:
                row.state.restriction.ban(scores[row.place], row.sequence.output_ids)
        self._penalise(scores, rows)
        return scores

    def _constrain(self, scores: Tensor, logits: Tensor, rows: list[_Row]) -> None:
        constrained = [(row.place, row.state.constraint) for row in rows if row.state.constraint is not None]
        if constrained:
            requests = [rows[place].sequence.job.request for place, _ in constrained]
            is_strict = [each.sampling.allowed_token_ids is not None for each in requests]
            self._masks.restrict(scores, logits, constrained, is_strict)

    def _penalise(self, scores: Tensor, rows: list[_Row]) -> None:
        counted = [(row, row.state.counts) for row in rows if row.state.counts is not None]
        if not counted:
            return
        sizes = [counts.size for _, counts in counted]
        samplings = [row.sequence.job.request.sampling for row, _ in counted]

        def joined(parts: list[np.ndarray[Any, Any]]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts)).to(self._device)

        def spread(values: list[float]) -> Tensor:
            return torch.from_numpy(np.repeat(np.array(values, dtype=np.float32), sizes)).to(self._device)

        places = spread([row.place for row, _ in counted]).long()
        ids = joined([counts.ids[: counts.size] for _, counts in counted])
        scores[places, ids] = warpers.penalise(
            scores[places, ids],
            joined([counts.prompt[: counts.size] for _, counts in counted]),
            joined([counts.output[: counts.size] for _, counts in counted]),
            spread([counts.num_tokens for _, counts in counted]),
            spread([each.repetition_penalty for each in samplings]),
            spread([each.presence_penalty for each in samplings]),
            spread([each.frequency_penalty for each in samplings]),
            spread([each.frequency_penalty_is_relative for each in samplings]).bool(),
        )

    def _with_raw_logprobs(self, logits: Tensor, rows: list[_Row], draws: list[Draw]) -> list[Draw]:
        asked = [
            (row.place, request.logprobs)
            for row in rows
            if (request := row.sequence.job.request).logprobs is not None and not request.processed_logprobs
        ]
        if not asked:
            return draws
        places = [place for place, _ in asked]
        source = logits if len(places) == len(rows) else logits[torch.tensor(places, device=self._device)]
        token_ids = [draws[place].token_id for place in places]
        found = self._drawing.describe(source, token_ids, [num for _, num in asked])
        logprobs = dict(zip(places, found, strict=True))
        return [Draw(draw.token_id, logprobs.get(place, draw.logprobs)) for place, draw in enumerate(draws)]


def takes_best(sequence: Sequence) -> bool:
    """Whether the next token is the one with the highest logit, and nothing else is asked for."""
    request = sequence.job.request
    sampling = request.sampling
    return (
        sampling.is_greedy
        and request.logprobs is None
        and sequence.job.constraint is None
        and not (request.min_tokens and request.stop_token_ids)
        and not (sampling.logit_bias or sampling.watermark)
        and not (is_restricted(sampling) or _has_penalties(sequence))
    )


def _has_penalties(sequence: Sequence) -> bool:
    sampling = sequence.job.request.sampling
    return (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) != (1, 0, 0)


def _is_changed(row: _Row) -> bool:
    state = row.state
    return (
        state.bias is not None
        or state.restriction is not None
        or state.constraint is not None
        or state.counts is not None
        or row.sequence.job.request.sampling.watermark is not None
        or (state.stop_ids is not None and row.sequence.num_output_tokens < row.sequence.job.request.min_tokens)
    )


def _choice(row: _Row) -> Choice:
    request = row.sequence.job.request
    num_shown = request.logprobs if request.processed_logprobs else None
    if row.state.generator is None:
        return _BEST if num_shown is None else Choice(num_shown=num_shown)
    sampling = request.sampling
    uniform = torch.rand(1, generator=row.state.generator, dtype=torch.float64).item()
    return Choice(
        max(sampling.temperature, _MIN_TEMPERATURE),
        sampling.top_k,
        sampling.top_p,
        sampling.typical_p,
        sampling.min_p,
        uniform=uniform,
        num_shown=num_shown,
    )
