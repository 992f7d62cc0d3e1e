"""A tokenizer of single bytes with a few merges, for tests that need text but no model."""

from __future__ import annotations

from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from portico.text.tokenizer import Tokenizer

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def build_byte_tokenizer(checkpoint: Path) -> Tokenizer:
    """Writes `tokenizer.json` into the directory: ids 0-255 are bytes in the table's order, the rest is special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({character: index for index, character in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    checkpoint.mkdir(parents=True, exist_ok=True)
    backend.save(str(checkpoint / "tokenizer.json"))
    return Tokenizer.load(checkpoint)
