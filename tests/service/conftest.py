"""A service on the scripted engine, which writes the bytes of a given text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from portico.core.model import ServedModel
from portico.engines.scripted.config import ScriptedConfig
from portico.engines.scripted.engine import ScriptedEngine
from portico.service.admission import Admission
from portico.service.conversion import ConversionService
from portico.service.generation import GenerationService
from portico.service.preparation import Preparation
from portico.text.answer_format import PLAIN, AnswerFormat
from portico.text.chat_template import ChatTemplate
from portico.text.tokenizer import Tokenizer
from tests.byte_tokenizer import build_byte_tokenizer

TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>{% endfor %}"


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return build_byte_tokenizer(tmp_path_factory.mktemp("checkpoint"))


class Bench:
    """Starts services and keeps their engines at hand."""

    def __init__(self, tokenizer: Tokenizer, stack: AsyncExitStack) -> None:
        self.tokenizer = tokenizer
        self._stack = stack
        self.engine: ScriptedEngine
        self.converter: ConversionService
        self.preparation: Preparation

    async def start(
        self,
        text: str = "hello world",
        max_waiting: int = 100,
        template: str = TEMPLATE,
        answer_format: AnswerFormat = PLAIN,
        **config: Any,
    ) -> GenerationService:
        """A service whose model writes `text` and then ends."""
        eos = self.tokenizer.find_special("<|im_end|>")
        assert eos is not None
        self.engine = ScriptedEngine(
            ScriptedConfig(
                script=self.tokenizer.encode(text, add_special_tokens=False),
                vocab_size=self.tokenizer.vocab_size,
                eos_token_id=eos,
                **{"max_num_seqs": 64, "max_model_len": 512, **config},
            )
        )
        await self.engine.start(lambda fraction: None)
        self._stack.push_async_callback(self.engine.close)
        self.preparation = preparation = Preparation(self.tokenizer, ChatTemplate(template, {}))
        served = ServedModel(("model", "alias"), False, "/model")
        self.converter = ConversionService(self.engine, self.tokenizer, preparation, served)
        return GenerationService(
            self.engine,
            self.tokenizer,
            preparation,
            served,
            Admission(config.get("max_num_seqs", 64), max_waiting),
            answer_format,
        )


@pytest.fixture
async def bench(tokenizer: Tokenizer) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield Bench(tokenizer, stack)
