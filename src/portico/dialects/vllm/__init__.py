"""The vLLM dialect: `POST /generate` of its demonstration server, and its routes about the server.

Source: vLLM's examples and API server.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from portico.core.dialect import Claim, Describe, Dialect, Generate, MetricAlias, Reply, Route
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.vllm.decode import decode_generate, has_prompt
from portico.dialects.vllm.ledgers import GENERATE
from portico.dialects.vllm.profile import MINDIE as MINDIE
from portico.dialects.vllm.profile import UPSTREAM as UPSTREAM
from portico.dialects.vllm.profile import Profile as Profile
from portico.dialects.vllm.server import health, version

_CLAIM = Claim(has_prompt, "`prompt`")


@dataclass(frozen=True, slots=True)
class Vllm:
    """The dialect as the server knows it, in one profile."""

    profile: Profile
    routes: tuple[Route, ...]
    name: str = "vllm"
    title: str = "vLLM"
    prefixes: tuple[str, ...] = ()
    ledgers: tuple[Ledger, ...] = (GENERATE,)

    metric_aliases: tuple[MetricAlias, ...] = ()

    def refuse(self, error: PorticoError) -> Reply:
        """The error in the profile's shape, with its status."""
        return self.profile.refuse(error)


def dialect(profile: Profile = UPSTREAM) -> Dialect:
    """The dialect, as vLLM or as MindIE speaks it."""
    return Vllm(
        profile,
        (
            Route("POST", "/generate", Generate(partial(decode_generate, profile=profile)), _CLAIM),
            Route("GET", "/health", Describe(health)),
            Route("GET", "/ping", Describe(health)),
            Route("POST", "/ping", Describe(health)),
            Route("GET", "/version", Describe(version)),
        ),
    )
