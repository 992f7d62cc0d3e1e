"""A synthetic tokenizer of any vocabulary size.

Ids are the 256 bytes, then words of four letters with a space before them, then three control tokens. A text of
such words has exactly one token per word, so that lengths are as exact in text as in ids, and what a random model
writes is nearly always whole characters.
"""

from __future__ import annotations

from typing import Any

NUM_BYTES = 256
CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPACE = "Ġ"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def word(token_id: int) -> str:
    """The text of a word token, its space included."""
    number, letters = token_id - NUM_BYTES, ""
    for _ in range(4):
        number, letter = divmod(number, len(_LETTERS))
        letters = _LETTERS[letter] + letters
    return " " + letters


def word_ids(vocab_size: int) -> range:
    """The ids that are words."""
    return range(NUM_BYTES, vocab_size - len(CONTROL_TOKENS))


def tokenizer_json(vocab_size: int) -> dict[str, Any]:
    """The content of tokenizer.json.

    Raises:
        ValueError: there is no room for bytes, control tokens and one word, or there are more ids than words.
    """
    words = word_ids(vocab_size)
    if not 0 < len(words) <= len(_LETTERS) ** 4:
        raise ValueError(f"A synthetic vocabulary cannot have {vocab_size} tokens.")
    vocab = {character: index for index, character in enumerate(_byte_characters())}
    vocab |= {_SPACE + word(token_id)[1:]: token_id for token_id in words}
    added = [
        {
            "id": words.stop + index,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index, content in enumerate(CONTROL_TOKENS)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        # Words are looked up whole, so no merges are needed; whatever is no word falls to its bytes.
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "ignore_merges": True, "byte_fallback": False},
    }


def tokenizer_config() -> dict[str, Any]:
    """The content of tokenizer_config.json; the class is one that takes tokenizer.json as it is."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": CONTROL_TOKENS[-1],
        "pad_token": CONTROL_TOKENS[-1],
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }


def _byte_characters() -> list[str]:
    """The characters of GPT-2's byte-level alphabet, in the order of their bytes."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(NUM_BYTES, 2 * NUM_BYTES))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(NUM_BYTES)]
