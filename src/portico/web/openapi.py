"""The OpenAPI document of what is served, from the table of paths.

Which statuses a route has, and what errors look like, is found out by asking its dialect to refuse the errors that its
operation can end with. Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any

from portico.core.dialect import Detokenize, Dialect, Generate, Reply, Tokenize
from portico.core.errors import (
    EngineFailure,
    Forbidden,
    InvalidParameter,
    MalformedRequest,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PorticoError,
    PromptTooLong,
    QueueTimedOut,
    QuotaExceeded,
    TimedOut,
    Unauthorized,
    UnknownModel,
    UnknownRoute,
    UnsupportedMediaType,
    UnsupportedParameter,
)
from portico.core.form import JSON
from portico.web.guard import Access
from portico.web.routing import Candidate, SharedPath, find_dialect
from portico.web.wrong_keys import TooManyWrongKeys

_PARAMETER = re.compile(r"{(\w+)(?::path)?}")
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_TITLE = "Portico"

DOCUMENT_PATH = "/openapi.json"

# What any request can end with before it is known whose it is.
_EVERYWHERE: tuple[PorticoError, ...] = (
    Forbidden("It is not for this key."),
    MalformedRequest("The body cannot be read."),
    PayloadTooLarge(0),
    EngineFailure("It failed."),
)
_WITH_BODY: tuple[PorticoError, ...] = (
    MalformedRequest("The body is not JSON."),
    InvalidParameter("field", "`field` is out of range."),
    InvalidParameter("", "The fields contradict each other."),
    UnsupportedParameter("field", "`field` is not supported."),
    UnsupportedMediaType("text/plain"),
)
_WITH_MODEL: tuple[PorticoError, ...] = (UnknownModel("model", ("served",)),)
_WITH_TOKENS: tuple[PorticoError, ...] = (*_WITH_MODEL, QuotaExceeded("requests", "The share is used up."))
_WITH_ENGINE: tuple[PorticoError, ...] = (
    *_WITH_TOKENS,
    PromptTooLong(2, None, 1),
    Overloaded("Too many wait."),
    NotReady("It is loading."),
    QueueTimedOut(1),
    TimedOut(1),
)


def build_document(
    dialects: Sequence[Dialect], paths: Iterable[SharedPath], pages: Iterable[str], version: str, *, has_keys: bool
) -> dict[str, Any]:
    """The document of these paths of these dialects, and of pages that belong to none.

    `version` is the server's; without keys nothing asks for one.
    """
    writer = _Writer(dialects, has_keys)
    items: dict[str, dict[str, Any]] = {}
    for path in sorted(paths, key=lambda each: each.path):
        item = items.setdefault(_PARAMETER.sub(r"{\1}", path.path), {})
        for method in path.methods:
            item[method.lower()] = writer.describe(path, method)
    for page in pages:
        items[page] = {"get": writer.describe_page(page)}
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": version},
        "paths": dict(sorted(items.items())),
        "components": {
            "schemas": dict(sorted(writer.parts.items())),
            "responses": dict(sorted(writer.responses.items())),
            "securitySchemes": _SECURITY,
        },
    }


# By status and media type, the shapes that an answer can have; an empty one is any.
_Answers = dict[int, dict[str, list[Any]]]


@dataclass(slots=True)
class _Writer:
    """Describes operations, and collects what several of them refer to."""

    dialects: Sequence[Dialect]
    has_keys: bool
    parts: dict[str, Any] = field(default_factory=dict)
    responses: dict[str, Any] = field(default_factory=dict)

    def describe(self, path: SharedPath, method: str) -> dict[str, Any]:
        """A method of a path."""
        reachable = list(_reachable(path.candidates[method]))
        needs_key = self.has_keys and path.access(method) is not Access.OPEN
        described: dict[str, Any] = {
            "operationId": f"{method.lower()}{_slug(path.path)}",
            "tags": [each.dialect.title for each in reachable],
            "security": _security(needs_key),
        }
        if names := _PARAMETER.findall(path.path):
            schema = {"type": "string", "minLength": 1}
            described["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": schema} for name in names
            ]
        if body := self._body(reachable):
            described["requestBody"] = body
        answers: _Answers = {}
        for candidate in reachable:
            for status, media_types in candidate.route.form.answers.items():
                answers.setdefault(status, {}).update({media_type: [{}] for media_type in media_types})
        dialects = {each.dialect.name: each.dialect for each in path.candidates[method]}
        _add_errors(answers, dialects.values(), _everywhere(needs_key))
        for candidate in reachable:
            _add_errors(answers, [candidate.dialect], _errors(candidate))
        if names:
            # Some values make it another path, or none, such as two dots.
            owners = {each.name: each for each in (*dialects.values(), find_dialect(self.dialects, path.path))}
            misses = (UnknownRoute(method, path.path), MethodNotAllowed(method, path.path, path.methods))
            _add_errors(answers, owners.values(), misses)
        described["responses"] = self._refer(answers, "-".join(dialects))
        return described

    def describe_page(self, page: str) -> dict[str, Any]:
        """A page, which may be of any kind; the first dialect tells its errors."""
        answers: _Answers = {200: {}}
        _add_errors(answers, self.dialects[:1], _everywhere(self.has_keys))
        responses = self._refer(answers, self.dialects[0].name)
        return {"operationId": f"get{_slug(page)}", "security": _security(self.has_keys), "responses": responses}

    def _body(self, candidates: Sequence[Candidate]) -> dict[str, Any] | None:
        forms = [each.route.form for each in candidates if each.route.form.body is not None]
        if not forms:
            return None
        schemas = [form.body() for form in forms if form.body is not None]
        for schema in schemas:
            self.parts |= schema.parts
        content: dict[str, Any] = {JSON: {"schema": _any_of([schema.root for schema in schemas])}}
        content |= {form.binary: {"schema": {}} for form in forms if form.binary}
        return {"required": all(form.needs_body for form in forms), "content": content}

    def _refer(self, answers: _Answers, owners: str) -> dict[str, Any]:
        """The answers by status; equal ones of the same dialects are written once."""
        referred: dict[str, Any] = {}
        for status, content in sorted(answers.items()):
            response: dict[str, Any] = {"description": _phrase(status)}
            if content:
                response["content"] = {media_type: _media(shapes) for media_type, shapes in sorted(content.items())}
            names = (f"{owners}-{status}{'' if number == 1 else f'-{number}'}" for number in count(1))
            name = next(each for each in names if self.responses.setdefault(each, response) == response)
            referred[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return referred


def _security(needs_key: bool) -> list[dict[str, list[str]]]:
    return [{name: []} for name in _SECURITY] if needs_key else []


def _everywhere(needs_key: bool) -> tuple[PorticoError, ...]:
    return (*_EVERYWHERE, Unauthorized(is_missing=True), TooManyWrongKeys(1, 60)) if needs_key else _EVERYWHERE


def _reachable(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Those that can answer: none after the first that takes every body."""
    for candidate in candidates:
        yield candidate
        if candidate.route.claim is None:
            return


def _errors(candidate: Candidate) -> Iterator[PorticoError]:
    route = candidate.route
    yield from route.form.errors
    if route.method == "POST":
        yield from _WITH_BODY
    if _PARAMETER.search(route.path):
        yield from _WITH_MODEL
    match route.operation:
        case Generate():
            yield from _WITH_ENGINE
        case Tokenize() | Detokenize():
            yield from _WITH_TOKENS


def _add_errors(answers: _Answers, dialects: Iterable[Dialect], errors: Iterable[PorticoError]) -> None:
    errors = list(errors)
    for dialect in dialects:
        for error in errors:
            reply = dialect.refuse(error)
            shapes = answers.setdefault(reply.status, {}).setdefault(reply.media_type, [])
            if (shape := _shape_of_reply(reply)) not in shapes:
                shapes.append(shape)


def _shape_of_reply(reply: Reply) -> dict[str, Any]:
    return _shape(json.loads(reply.body)) if reply.media_type == JSON else {}


def _shape(value: Any) -> dict[str, Any]:
    """The schema of values like an example: texts and numbers may differ, keys may not."""
    match value:
        case dict():
            properties = {name: _shape(each) for name, each in value.items()}
            return {"type": "object", "properties": properties, "required": list(value)}
        case str():
            return {"type": "string"}
        case int():
            return {"type": "integer"}
        case None:
            return {"type": "null"}
    raise AssertionError(f"no error holds {value!r}")


def _media(shapes: Sequence[Any]) -> dict[str, Any]:
    return {} if {} in shapes else {"schema": _any_of(shapes)}


def _any_of(schemas: Sequence[Any]) -> Any:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def _phrase(status: int) -> str:
    # One API has a status of its own for too much load.
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Overloaded"


def _slug(path: str) -> str:
    return re.sub(r"\W", "_", _PARAMETER.sub(r"by_\1", path))
