"""Which dialect answers which request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portico.core.dialect import Describe, Dialect, Route
from portico.core.errors import InvalidParameter
from portico.web.guard import Access


class RouteConflict(Exception):
    """Two dialects want the same path and nothing tells their requests apart. Found at start."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A dialect that may answer on a path."""

    dialect: Dialect
    route: Route


@dataclass(frozen=True, slots=True)
class SharedPath:
    """All that is served on one path: candidates by method, in order of precedence."""

    path: str
    candidates: Mapping[str, tuple[Candidate, ...]]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are answered."""
        return tuple(self.candidates)

    def access(self, method: str) -> Access:
        """What a method of the path asks for; one that is not answered asks for a key too, so that it tells nothing."""
        routes = [candidate.route for candidate in self.candidates.get(method, ())]
        if any(route.is_for_operators or adds_up_tenants(route.operation) for route in routes):
            return Access.OPERATOR
        return Access.OPEN if routes and all(route.is_open for route in routes) else Access.KEY

    def choose(self, method: str, body: bytes) -> Candidate:
        """The first candidate that recognises the body; the last one must refuse what fits none.

        Raises:
            UnclaimedBody: several dialects share the path and none recognises the body.
        """
        candidates = self.candidates[method]
        if len(candidates) == 1:
            return candidates[0]
        for candidate in candidates:
            if candidate.route.claim is None or candidate.route.claim.accepts(body):
                return candidate
        hints = " or ".join(each.route.claim.hint for each in candidates if each.route.claim is not None)
        raise UnclaimedBody(candidates[-1].dialect, f"{method} {self.path} needs a JSON object with {hints}.")


def adds_up_tenants(operation: object) -> bool:
    """Whether it reports on what all tenants have asked together."""
    return isinstance(operation, Describe) and operation.adds_up_tenants


class UnclaimedBody(InvalidParameter):
    """A body on a shared path that fits no dialect there; `dialect` is the one that says so."""

    def __init__(self, dialect: Dialect, message: str) -> None:
        super().__init__("", message)
        self.dialect = dialect


def build_paths(
    dialects: Sequence[Dialect], precedence: Mapping[tuple[str, str], Sequence[str]], for_operators: bool = False
) -> list[SharedPath]:
    """Collects the routes of all dialects by path, in order of the dialects; with or without those for operators.

    `precedence` names, for a method and path, the order of the dialects that share it; those after the first without a
    claim never answer.

    Raises:
        RouteConflict: two routes without claims on one method and path, and no precedence.
    """
    table: dict[str, dict[str, list[Candidate]]] = {}
    for dialect in dialects:
        for route in dialect.routes:
            if route.is_for_operators and not for_operators:
                continue
            table.setdefault(route.path, {}).setdefault(route.method, []).append(Candidate(dialect, route))
    paths = []
    for path, by_method in table.items():
        candidates = {
            method: _order(method, path, found, precedence.get((method, path))) for method, found in by_method.items()
        }
        paths.append(SharedPath(path, candidates))
    return paths


def _order(method: str, path: str, candidates: list[Candidate], names: Sequence[str] | None) -> tuple[Candidate, ...]:
    if names is not None:
        return tuple(sorted(candidates, key=lambda each: names.index(each.dialect.name)))
    if len(candidates) > 1 and any(each.route.claim is None for each in candidates):
        owners = ", ".join(each.dialect.name for each in candidates)
        raise RouteConflict(f"{method} {path} is wanted by {owners}, and nothing tells their requests apart")
    return tuple(candidates)


def find_similar(paths: Sequence[str], asked: str) -> str | None:
    """The path that may have been meant by an unknown one: without its prefix, with it twice, with a slash too many."""
    asked = asked.rstrip("/")
    ends = [
        path for path in paths if len(path) > 1 and "{" not in path and (asked.endswith(path) or path.endswith(asked))
    ]
    return min(ends, key=lambda path: abs(len(path) - len(asked))) if asked and ends else None


def find_dialect(dialects: Sequence[Dialect], path: str) -> Dialect:
    """The dialect whose prefix covers an unknown path, else the first."""
    matches = [
        (len(prefix), dialect)
        for dialect in dialects
        for prefix in dialect.prefixes
        if path == prefix or path.startswith(prefix.rstrip("/") + "/")
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else dialects[0]
