"""What kind of body a request says it has."""

from __future__ import annotations

from collections.abc import Mapping

from portico.core.dialect import Describe, Route
from portico.core.errors import UnsupportedMediaType

# What any web page may send to any address without asking it first. Source: Fetch standard, "CORS-safelisted
# request-header".
_UNASKED = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")


def check_media_type(headers: Mapping[str, str], route: Route) -> None:
    """Lets a body pass that is of the kind the route reads; `headers` have lower-case names.

    Some wires read JSON whatever it is called, since their users send it with a bare curl. From a browser it must be
    called JSON there too: a page of another site cannot send that unless the server permits it, which it never does.

    Raises:
        UnsupportedMediaType: it is of another kind.
    """
    if route.method != "POST" or isinstance(route.operation, Describe):
        return
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if route.needs_json_type and not _is_json(media_type):
        raise UnsupportedMediaType(media_type)
    if "origin" in headers and media_type in _UNASKED:
        raise UnsupportedMediaType(media_type)


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
