"""Paths that belong to no dialect: the operator's own pages."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from portico.core.dialect import Reply
from portico.core.errors import MethodNotAllowed, PorticoError
from portico.web.endpoint import Context, new_record
from portico.web.guard import Access, client_address
from portico.web.identity import identify
from portico.web.sender import Sender

# Gives the body and its media type.
Page = Callable[[], tuple[bytes, str]]


class PageEndpoint:
    """The ASGI application of one page; refusals are in the shape of the first dialect."""

    def __init__(self, context: Context, path: str, page: Page, access: Access = Access.OPERATOR) -> None:
        self._context = context
        self._path = path
        self._page = page
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with the page, if nothing else is said to operators only: it tells of all tenants."""
        identity = identify(scope["headers"])
        sender = Sender(scope, send, identity.headers)
        dialect = self._context.dialects[0]
        try:
            self._context.guard.admit(scope["headers"], self._access, client_address(scope), self._path)
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed(scope["method"], self._path, ("GET",))
        except PorticoError as error:
            record = new_record(identity, dialect.name, self._path)
            record.fail(error)
            await sender.reply(dialect.refuse(error))
            record.end(sender.status, self._context.observer)
            return
        body, media_type = self._page()
        await sender.reply(Reply(200, body, media_type))
