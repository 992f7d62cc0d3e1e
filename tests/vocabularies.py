"""Small vocabularies in the file formats that checkpoints have, trained in a moment on a multilingual text."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from portico.text.json_tokenizer import BYTE_OF_CHARACTER

TEXTS = (
    "如何养生？保持健康的方法：多运动，早睡早起。",
    "光的三原色是什么？光的三原色是红、绿、蓝。",
    "你好，我叫李聪明。请问你是谁？",
    "My name is Olivier and I'm a photographer; we've met, haven't we?",
    "def f(x):\n    if x > 10:\n\treturn x * 3.14159\n\n\n    return None  # 1234567890\r\n",
    "Привет, как дела? Всё хорошо, спасибо.",
    "こんにちは、お元気ですか。東京は晴れです。",
    "안녕하세요. 오늘은 날씨가 좋네요.",
    "مرحبا، كيف حالك؟ أنا بخير",
    "El niño comió piñas — ¡qué rico! Ça va très bien, déjà vu; Straße, œuvre.",
    "   leading, trailing   and  double  spaces   ",
    "👍🏽 emoji 👩‍👩‍👧 family 🇨🇳 flags ☃",
    "e\u0301 decomposed, ﬁ ligature, Å angstrom, ｆｕｌｌ width",
    "\n\n",
    " ",
    "a",
    "",
)
# With three pieces before it `<reserved_106>` has the id that it has in Baichuan2.
_BAICHUAN_2 = [f"<filler_{number}>" for number in range(86)] + [f"<reserved_{number}>" for number in range(112)]
_BAICHUAN_1 = [f"<filler_{number}>" for number in range(90)] + [f"<reserved_{number}>" for number in range(112)]


def write_tiktoken(checkpoint: Path) -> Path:
    """Writes qwen.tiktoken; the 256 bytes have ranks that are not themselves."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=sorted(BYTE_OF_CHARACTER), show_progress=False)
    backend.train_from_iterator(TEXTS * 3, trainer)
    lines = [
        f"{base64.b64encode(bytes(BYTE_OF_CHARACTER[character] for character in token)).decode()} {rank}\n"
        for token, rank in sorted(backend.get_vocab().items(), key=lambda item: item[1])
    ]
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "qwen.tiktoken").write_text("".join(lines))
    return checkpoint


def write_llama_json(checkpoint: Path) -> Path:
    """Writes a tokenizer.json laid out as Llama 2's: `▁` for spaces and one before the text, bytes as `<0x0A>`."""
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizer
    backend.train_from_iterator(TEXTS[:6] * 3, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    trained = json.loads(backend.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *trained["vocab"]]
    backend = tokenizers.Tokenizer(
        models.BPE(
            {piece: token_id for token_id, piece in enumerate(pieces)},
            [tuple(pair) for pair in trained["merges"]],
            byte_fallback=True,
            unk_token="<unk>",
            fuse_unk=True,
        )
    )
    backend.normalizer = normalizer
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.add_special_tokens([tokenizers.AddedToken(text, normalized=False) for text in pieces[:3]])
    checkpoint.mkdir(parents=True, exist_ok=True)
    backend.save(str(checkpoint / "tokenizer.json"))
    return checkpoint


def write_unigram_json(checkpoint: Path) -> Path:
    """Writes a tokenizer.json with normal form KC, a model that knows its control tokens, and tokens of all kinds."""
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.add_special_tokens(
        [
            tokenizers.AddedToken("<|im_start|>", normalized=True),
            tokenizers.AddedToken("<|im_end|>", normalized=True, rstrip=True, lstrip=True),
        ]
    )
    backend.add_tokens(["<think>", "</think>", tokenizers.AddedToken("<tool_call>", normalized=False), "ö", "  "])
    checkpoint.mkdir(parents=True, exist_ok=True)
    backend.save(str(checkpoint / "tokenizer.json"))
    return checkpoint


def write_byte_level_json(checkpoint: Path) -> Path:
    """Writes a tokenizer.json laid out as Qwen's, with markers that are no control tokens."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=sorted(BYTE_OF_CHARACTER), show_progress=False)
    backend.train_from_iterator(TEXTS * 3, trainer)
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>"]
    backend.add_special_tokens([tokenizers.AddedToken(each, normalized=False) for each in control])
    backend.add_tokens(["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"])
    checkpoint.mkdir(parents=True, exist_ok=True)
    backend.save(str(checkpoint / "tokenizer.json"))
    return checkpoint


def write_baichuan(checkpoint: Path, generation: int = 2, **config: Any) -> Path:
    """Writes tokenizer.model: the second generation neither normalises nor puts a space before the text."""
    return write_sentencepiece(
        checkpoint,
        {"add_bos_token": False, "add_eos_token": False, **config},
        user_defined_symbols=_BAICHUAN_2 if generation == 2 else _BAICHUAN_1,
        add_dummy_prefix=generation == 1,
    )


def write_sentencepiece(checkpoint: Path, config: dict[str, Any], **settings: Any) -> Path:
    """Writes tokenizer.model and tokenizer_config.json."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in TEXTS * 3 for line in text.splitlines() if line.strip()]),
        model_writer=model,
        model_type="bpe",
        vocab_size=900,
        character_coverage=0.98,
        byte_fallback=True,
        split_digits=True,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"normalization_rule_name": "identity", "remove_extra_whitespaces": False, **settings},
    )
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "tokenizer.model").write_bytes(model.getvalue())
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(config))
    return checkpoint
