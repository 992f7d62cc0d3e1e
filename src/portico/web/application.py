"""The ASGI application: every path of every dialect, and the operator's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache

from starlette.routing import BaseRoute, Route, Router

from portico.core.form import JSON
from portico.web.endpoint import Context, Endpoint, NotFound
from portico.web.guard import Access
from portico.web.openapi import DOCUMENT_PATH, build_document
from portico.web.page import Page, PageEndpoint
from portico.web.routing import build_paths


def build_application(
    context: Context,
    precedence: Mapping[tuple[str, str], Sequence[str]],
    pages: Mapping[str, Page],
    for_operators: bool = False,
) -> Router:
    """Routes requests to their dialects; `pages` are paths that belong to no dialect, besides the document of all.

    Routes that only operators may use are served with `for_operators`.

    Raises:
        RouteConflict: two dialects want one path and nothing tells their requests apart.
    """
    paths = build_paths(context.dialects, precedence, for_operators)
    # Starlette takes the first match, so a path stands before those that match more: literal ones first, greedy ones
    # last, and of two greedy ones the longer first.
    paths.sort(key=lambda each: (":path}" in each.path, "{" in each.path, -len(each.path)))
    routes: list[BaseRoute] = [Route(path, PageEndpoint(context, path, page)) for path, page in pages.items()]

    @cache
    def render_document() -> tuple[bytes, str]:
        document = build_document(
            context.dialects,
            paths,
            (*pages, DOCUMENT_PATH),
            context.get_status().version,
            has_keys=bool(context.guard.key_names),
        )
        return json.dumps(document).encode(), JSON

    routes.append(Route(DOCUMENT_PATH, PageEndpoint(context, DOCUMENT_PATH, render_document, Access.KEY)))
    routes.extend(Route(each.path, Endpoint(context, each)) for each in paths)
    return Router(routes, redirect_slashes=False, default=NotFound(context, [*pages, *(each.path for each in paths)]))
