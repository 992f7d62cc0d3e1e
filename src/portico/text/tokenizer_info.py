"""What clients that tokenise elsewhere must know of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portico.text.chat_template import ChatTemplate, read_special_tokens, read_tokenizer_config
from portico.text.tokenizer import Tokenizer


def describe_tokenizer(
    checkpoint: Path, tokenizer: Tokenizer, template: ChatTemplate | None, eos_token_ids: Sequence[int]
) -> dict[str, str]:
    """Its class, its special tokens by their names, and the source of the chat template, if there is one.

    A checkpoint that names no end-of-sequence token has the first one that ends its sequences.

    Raises:
        ChatTemplateLoadError: the checkpoint's tokenizer_config.json is broken.
    """
    config = read_tokenizer_config(checkpoint)
    info = {"tokenizer_class": str(config.get("tokenizer_class") or type(tokenizer).__name__)}
    info |= read_special_tokens(config)
    if eos_token_ids:
        info.setdefault("eos_token", tokenizer.decode((eos_token_ids[0],), skip_special_tokens=False))
    return info if template is None else {**info, "chat_template": template.source}
