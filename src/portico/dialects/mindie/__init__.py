"""The native dialect of MindIE Service: the paths that are its own.

Its other paths are those of other servers and are answered by their dialects. Beyond MindIE Service: stop strings and
penalties are honoured, `stop_sequence` tells of stop strings, errors within a stream are events.
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import Dialect, Generate, MetricAlias, Reply, Route
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.mindie import decode, errors, ledgers

_ROUTES = (
    Route("POST", "/infer", Generate(decode.decode_infer)),
    Route("POST", "/infer_token", Generate(decode.decode_infer)),
)


@dataclass(frozen=True, slots=True)
class _Mindie:
    name: str
    title: str
    routes: tuple[Route, ...]
    prefixes: tuple[str, ...]
    ledgers: tuple[Ledger, ...]
    metric_aliases: tuple[MetricAlias, ...] = ()

    def refuse(self, error: PorticoError) -> Reply:
        return errors.refuse(error)


def dialect() -> Dialect:
    """The native paths of MindIE Service 3."""
    return _Mindie(
        name="mindie",
        title="MindIE",
        routes=_ROUTES,
        prefixes=(),
        ledgers=(ledgers.BODY, ledgers.PARAMETERS),
    )
