"""Prompts to tokens and token ids to text, without generating."""

from __future__ import annotations

import asyncio

from portico.core.engine import Engine
from portico.core.errors import InvalidParameter
from portico.core.model import ServedModel
from portico.core.request import DetokenizeRequest, TokenizeRequest
from portico.core.tenant import ANONYMOUS, Tenant
from portico.core.tokens import Tokenized
from portico.service.preparation import Preparation
from portico.service.quota import Quotas
from portico.text.tokenizer import Tokenizer

# More token ids are written out in a thread.
_THREAD_TOKENS = 8192


class ConversionService:
    """Shows what the model reads. It needs the tokenizer only, so it answers however busy the engine is."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        preparation: Preparation,
        served: ServedModel,
        quotas: Quotas | None = None,
    ) -> None:
        self._quotas = quotas or Quotas()
        self._engine = engine
        self._tokenizer = tokenizer
        self._preparation = preparation
        self._served = served

    async def tokenize(self, request: TokenizeRequest, tenant: Tenant = ANONYMOUS) -> Tokenized:
        """The tokens of a prompt, of any length.

        Raises:
            UnknownModel: another model is meant.
            QuotaExceeded: the tenant has used its share of requests.
            InvalidParameter: messages that the template refuses.
        """
        self._served.require(request.model)
        self._quotas.count(tenant)
        if self._preparation.takes_long((request.prompt,)):
            return await asyncio.to_thread(self._preparation.tokenize, request, self._engine.info)
        return self._preparation.tokenize(request, self._engine.info)

    async def detokenize(self, request: DetokenizeRequest, tenant: Tenant = ANONYMOUS) -> str:
        """The text of token ids.

        Raises:
            UnknownModel: another model is meant.
            QuotaExceeded: the tenant has used its share of requests.
            InvalidParameter: an id outside the vocabulary.
        """
        self._served.require(request.model)
        self._quotas.count(tenant)
        if len(request.token_ids) > _THREAD_TOKENS:
            return await asyncio.to_thread(self._decode, request)
        return self._decode(request)

    def _decode(self, request: DetokenizeRequest) -> str:
        vocab_size = self._engine.info.vocab_size
        for token_id in request.token_ids:
            if token_id >= vocab_size:
                raise InvalidParameter("tokens", f"Token id {token_id} is out of vocabulary (size {vocab_size}).")
        return self._tokenizer.decode(request.token_ids, request.skip_special_tokens)
