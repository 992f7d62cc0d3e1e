"""Grammars on their way to the engine: checked before anything begins, and refused where no engine takes them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.core.errors import InvalidGrammar, UnsupportedParameter
from portico.core.grammar import Grammar, GrammarKind
from portico.core.request import GenerationRequest
from tests.requests import make_request
from tests.service.conftest import Bench


def constrained(pattern: str) -> GenerationRequest:
    """A request whose output must match a regular expression."""
    return make_request(sampling={"grammar": Grammar(GrammarKind.REGEX, pattern, "pattern")})


async def test_the_engine_gets_checked_rules(bench: Bench) -> None:
    await bench.start()
    model = replace(bench.engine.info, takes_grammars=True)
    (job,) = bench.preparation.prepare(constrained("a+"), model)
    assert job.sampling.grammar == Grammar(GrammarKind.LARK, "start: /a+/", "pattern")
    with pytest.raises(InvalidGrammar):
        bench.preparation.prepare(constrained("("), model)


async def test_an_engine_without_grammars_is_not_asked(bench: Bench) -> None:
    service = await bench.start()
    with pytest.raises(UnsupportedParameter, match="`pattern`"):
        await anext(service.generate(constrained("a+")))


async def test_grammars_are_checked_in_a_thread(bench: Bench) -> None:
    await bench.start()
    asked = constrained("a+")
    assert bench.preparation.takes_long(asked.prompts, asked.sampling.grammar)
    assert not bench.preparation.takes_long(asked.prompts)
