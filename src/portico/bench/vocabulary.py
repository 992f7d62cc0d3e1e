"""A synthetic tokenizer of any vocabulary size: byte-level BPE over made-up words.

Ids are the 256 bytes, then syllables, then words of one, two and three syllables with a space before them, then three
control tokens. A text of such words has exactly one token per word, so that lengths are as exact in text as in ids,
and what a random model writes is nearly always whole characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NUM_BYTES = 256
# A consonant and a vowel: no two syllables side by side hold another one, so that merges have one way to go.
_SYLLABLES = tuple(consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou")
_SPACE = "Ġ"
FIRST_WORD = _NUM_BYTES + len(_SYLLABLES)
"""The first id that is a word."""
CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def word(token_id: int) -> str:
    """The text of a word token, its space included."""
    return " " + "".join(_syllables(token_id))


def word_ids(vocab_size: int) -> range:
    """The ids that are words."""
    return range(FIRST_WORD, vocab_size - len(CONTROL_TOKENS))


def tokenizer_json(vocab_size: int) -> dict[str, Any]:
    """The content of tokenizer.json.

    Raises:
        ValueError: there is no room for a word, or there are more ids than words.
    """
    words = word_ids(vocab_size)
    num_syllables = len(_SYLLABLES)
    if not 0 < len(words) <= num_syllables + num_syllables**2 + num_syllables**3:
        raise ValueError(f"A synthetic vocabulary cannot have {vocab_size} tokens.")
    tokens = [*_byte_characters(), *_SYLLABLES, *(_SPACE + word(token_id)[1:] for token_id in words)]
    vocab = {token: index for index, token in enumerate(tokens)}
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
        "model": {"type": "BPE", "vocab": vocab, "merges": list(_merges(words)), "byte_fallback": False},
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


def _syllables(token_id: int) -> list[str]:
    number, length = token_id - FIRST_WORD, 1
    while number >= len(_SYLLABLES) ** length:
        number -= len(_SYLLABLES) ** length
        length += 1
    found: list[str] = []
    for _ in range(length):
        number, last = divmod(number, len(_SYLLABLES))
        found.insert(0, _SYLLABLES[last])
    return found


def _merges(words: range) -> Iterator[list[str]]:
    """Letters to syllables first, then syllables to the word that stands before them, shorter words first."""
    yield from (list(syllable) for syllable in _SYLLABLES)
    for token_id in words:
        *before, last = _syllables(token_id)
        yield [_SPACE + "".join(before), last]


def _byte_characters() -> list[str]:
    """The characters of GPT-2's byte-level alphabet, in the order of their bytes."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(_NUM_BYTES, 2 * _NUM_BYTES))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(_NUM_BYTES)]
