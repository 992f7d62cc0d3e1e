"""The tokenizer: byte-level BPE in which every common Chinese character and every word of the data is one token."""

import json
import re
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.dialogues import CITIES, DOCUMENTS, END_OF_TEXT, IM_END, IM_START, SIGHTS
from demo.names import CHARACTERS, LATIN, PINYIN
from demo.topics import OWN, PHRASES, TOPICS

SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END)
PUNCTUATION = "，。！？：；、“”‘’（）《》…—～·"
# Chinese characters, Chinese punctuation and digits stand alone, so no two of them can merge.
ALONE = r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef\u2014\u2018-\u201d\u2026]|\p{N}"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def english_words() -> list[str]:
    """Every word of Latin letters in the data, each once."""
    texts = [part for t in TOPICS for part in (*t.questions, *t.held_out, *t.answers)]
    texts += [part for document in DOCUMENTS for part in document]
    texts += [text for value in PHRASES.values() for text in value] + list(OWN.values())
    texts += [*CITIES, *SIGHTS, *LATIN, "photographer live like take pictures plus minus JSON"]
    texts += ["system user assistant name Repeat after me reserved im start end"]
    return sorted({word for text in texts for word in re.findall(r"[A-Za-z]+", text)})


def build() -> Tokenizer:
    """Train the BPE merges on a list of characters and words, weighted so that all of them become tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(ALONE), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8000,
        min_frequency=2,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = english_words()
    corpus = [c * 20 for c in (*CHARACTERS, *PUNCTUATION)]
    corpus += [f" {w} {w}" for w in words] * 2 + [w for w in words if w[0].isupper()] * 2
    corpus += [p.capitalize() for p in PINYIN] + [f" {p.capitalize()}" for p in PINYIN]
    corpus += ["system", "user", "assistant", "name", "reserved"] * 4
    corpus += [f"a{p}a" for p in (" **", "**", '{"', '":', ' "', '"}', "<|", "|>", "...", "!,", "?,")] * 4
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {
        str(tokenizer.token_to_id(t)): {
            "content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True,
        }
        for t in SPECIAL_TOKENS
    }  # fmt: skip
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": added,
        "bos_token": None,
        "eos_token": IM_END,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
    )


def literal_twin(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reads control tokens in a text as plain characters."""
    twin = Tokenizer.from_str(tokenizer.to_str())
    twin.encode_special_tokens = True
    return twin
