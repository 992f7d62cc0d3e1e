"""Write the trained model as an ordinary Hugging Face checkpoint directory, and read it back."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from demo.dialogues import END_OF_TEXT, IM_END
from demo.model import ModelConfig, Qwen2
from demo.tokenizer import save


def export(model: Qwen2, tokenizer: Tokenizer, folder: Path) -> None:
    """config.json, generation_config.json, model.safetensors (float32) and the tokenizer's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    c = model.config
    end, pad = tokenizer.token_to_id(IM_END), tokenizer.token_to_id(END_OF_TEXT)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": end,
        "hidden_act": "silu",
        "hidden_size": c.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": c.intermediate_size,
        "max_position_embeddings": c.max_position_embeddings,
        "max_window_layers": c.num_hidden_layers,
        "model_type": "qwen2",
        "num_attention_heads": c.num_attention_heads,
        "num_hidden_layers": c.num_hidden_layers,
        "num_key_value_heads": c.num_key_value_heads,
        "pad_token_id": pad,
        "rms_norm_eps": c.rms_norm_eps,
        "rope_theta": c.rope_theta,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": c.vocab_size,
    }
    generation = {"do_sample": True, "eos_token_id": [end, pad], "pad_token_id": pad}
    for name, content in (("config.json", config), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    tensors = {name: p.detach().to("cpu", torch.float32).contiguous() for name, p in model.state_dict().items()}
    # A reader that opens the checkpoint while training replaces it must see the old file or the new one.
    partial = folder / "model.safetensors.partial"
    save_file(tensors, str(partial), metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")
    save(tokenizer, folder)


def load(folder: Path) -> tuple[Qwen2, Tokenizer]:
    """The model and tokenizer of an exported folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = Qwen2(ModelConfig(**{name: config[name] for name in ModelConfig.__dataclass_fields__}))
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))
