"""Chat templates of the model families whose checkpoints come without one: their code wrote the prompts."""

from __future__ import annotations

import json
from pathlib import Path

_BAICHUAN_1_VOCABULARY = 64_000

# `make_context` in qwen_generation_utils.py of Qwen/Qwen-7B-Chat.
_CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# `build_chat_input` in generation_utils.py of baichuan-inc/Baichuan2-7B-Chat. There is one thing more: a user's
# message that has its control tokens already, as prompts written for the bare model have, does not get them again,
# unless they are plain text there.
_BAICHUAN = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}"
    "{% if not loop.first %}{{ raise_exception('only the first message can be the system message') }}{% endif %}"
    "{% elif message.role == 'user' %}{% if content_is_literal or not message.content.startswith('@USER@') %}@USER@"
    "{% endif %}"
    "{% elif message.role == 'assistant' %}@ASSISTANT@"
    "{% else %}{{ raise_exception('the roles are system, user and assistant') }}"
    "{% endif %}{{ message.content }}"
    "{% endfor %}"
    "{% if add_generation_prompt and messages[-1].role != 'assistant' "
    "and (content_is_literal or not messages[-1].content.endswith('@ASSISTANT@')) %}@ASSISTANT@{% endif %}"
)


def family_template(checkpoint: Path) -> str | None:
    """The Jinja source for a checkpoint directory, or None for a family whose checkpoints have templates."""
    try:
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        architectures = set(config.get("architectures") or ())
    except (OSError, ValueError, AttributeError, TypeError):
        # What is wrong with config.json is the engine's to say.
        return None
    if "QWenLMHeadModel" in architectures:
        return _CHATML
    if architectures & {"BaichuanForCausalLM", "BaiChuanForCausalLM"}:
        is_first = "BaiChuanForCausalLM" in architectures or config.get("vocab_size") == _BAICHUAN_1_VOCABULARY
        user, assistant = (102, 103) if is_first else (106, 107)
        return _BAICHUAN.replace("@USER@", f"<reserved_{user}>").replace("@ASSISTANT@", f"<reserved_{assistant}>")
    return None
