"""From samples to batches: token ids, which of them count, padding by length, and random repeated sequences."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo.dialogues import END_OF_TEXT, Sample, draw
from demo.tokenizer import SPECIAL_TOKENS, literal_twin

MAX_TOKENS = 704
POOL = 768


@dataclass(frozen=True)
class Batch:
    """ids [rows, length + 1] padded on the right; counted [rows, length] marks the predictions that are trained."""

    ids: Tensor
    counted: Tensor


class Encoder:
    """Turns samples into token ids and loss marks."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.literal = literal_twin(tokenizer)
        self.pad = int(tokenizer.token_to_id(END_OF_TEXT) or 0)

    def encode(self, sample: Sample) -> tuple[list[int], list[bool]]:
        ids: list[int] = []
        trained: list[bool] = []
        for segment in sample:
            piece = (self.literal if segment.literal else self.tokenizer).encode(segment.text).ids
            ids += piece
            trained += [segment.trained] * len(piece)
        return ids, trained


def _padded(rows: list[tuple[list[int], list[bool]]], pad: int) -> Batch:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad)
    counted = torch.zeros((len(rows), longest), dtype=torch.bool)
    for i, (row, trained) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        counted[i, : len(row)] = torch.tensor(trained)
    return Batch(ids, counted[:, 1:])


def dialogue_batches(encoder: Encoder, rng: random.Random, tokens: int) -> Iterator[Batch]:
    """Batches of about `tokens` tokens each; rows of one batch have similar lengths, so little is padding."""
    pad = encoder.pad
    while True:
        pool = [encoder.encode(draw(rng)) for _ in range(POOL)]
        pool = sorted((s for s in pool if len(s[0]) <= MAX_TOKENS), key=lambda s: len(s[0]))
        batches: list[list[tuple[list[int], list[bool]]]] = [[]]
        for row in pool:
            if len(row[0]) * (len(batches[-1]) + 1) > tokens:
                batches.append([])
            batches[-1].append(row)
        rng.shuffle(batches)
        yield from (_padded(rows, pad) for rows in batches if rows)


def repeat_batch(vocab_size: int, rng: random.Random, tokens: int) -> Batch:
    """Random token sequences, each repeated with its own period; only the repeats count.

    Nothing but copying lowers this loss, and it asks for every token alike: copying stays general.
    """
    length, longest_period = 256, 128
    rows = tokens // length
    ids = torch.empty((rows, length + 1), dtype=torch.long)
    counted = torch.zeros((rows, length), dtype=torch.bool)
    for row in range(rows):
        period = rng.randint(6, longest_period)
        unit = torch.tensor(rng.choices(range(vocab_size - len(SPECIAL_TOKENS)), k=period))
        ids[row] = unit.repeat(length // period + 2)[: length + 1]
        # The first token of a repeat is only predictable once the period has been seen to end.
        counted[row, period:] = True
    return Batch(ids, counted)
