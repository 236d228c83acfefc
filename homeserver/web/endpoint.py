"""An endpoint is one function with its declaration as data.

    ENDPOINTS at the end of a door module is all that the composition root needs:

    @endpoint("PUT", "/_matrix/client/v3/rooms/{room_id}/send/{type}/{txn_id}",
              access=USER, limit=rate.MESSAGE, once_per="txn_id")
    async def send_message(rooms: Rooms, who: Requester, room_id: RoomId, type: str, txn_id: str,
                           content: JsonObject, request: RequestInfo) -> SentEvent:
        '''Send a message event. Specification: client-server API, PUT /rooms/{roomId}/send.'''
        return await rooms.send(who, room_id, type, content, once=request.transaction_key)

    class MessagesQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
        dir: Literal["b", "f"]
        from_: str | None = None
        limit: int = 10

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/messages", access=USER_OR_GUEST)
    async def messages(rooms: Rooms, who: Requester, room_id: RoomId, query: MessagesQuery) -> bytes: ...

    ENDPOINTS = endpoints(__name__)

and there:  `bound = bind(rooms_send.ENDPOINTS, rooms)` (`homeserver.web.plan`), then `Router(bound)`.

What a handler may take, by the name of the parameter (all is resolved once, at `bind`; the annotations must be
importable at run time, not under TYPE_CHECKING only):

    the first    the service of this door, whatever its name; `bind` checks it against the annotation if that is a class
    who          Requester (Requester | None for OPTIONAL; ServerName for SERVER)
    query        a msgspec.Struct made from the query string ("5" becomes int, "true" bool, repeated keys a list)
    body         a msgspec.Struct made from the JSON body; unknown keys are ignored, missing ones M_MISSING_PARAM, wrong
                 types M_BAD_JSON. Any JSON in a field: decode.ObjectField, decode.ValueField. An empty body counts as
                 {} where the struct needs nothing. `body: X | None` is None for an empty body
    content      JsonObject: the JSON body as it is
    request      RequestInfo: ip, user_agent, headers, access_token, transaction_key, raw body
    upload       Upload: the body as a stream (with body_limit_bytes=...)
    socket       Socket, for `@websocket`
    other names  a parameter of the path, of a type of core/ids (validated: 400 M_INVALID_PARAM), str or int; one that
                 the path does not have needs a default (stack two @endpoint to give one function two paths).
                 Only a parameter named state_key may be empty in the path.

A handler returns a msgspec.Struct, dict or list (encoded), bytes (JSON already), None ({}), a `Response` or a
`StreamedResponse`. Refusals are `errors.MatrixError`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from homeserver.web.access import (
    ADMIN,
    APPSERVICE,
    NONE,
    OPTIONAL,
    SERVER,
    USER,
    USER_OR_GUEST,
    Access,
    Requester,
)

__all__ = [
    "ADMIN",
    "APPSERVICE",
    "NONE",
    "OPTIONAL",
    "SERVER",
    "USER",
    "USER_OR_GUEST",
    "Access",
    "Declaration",
    "Endpoint",
    "Requester",
    "endpoint",
    "endpoints",
    "websocket",
]

Handler = Callable[..., Awaitable[object]]
HandlerT = TypeVar("HandlerT", bound=Handler)

MEBIBYTE = 1024 * 1024
_ATTRIBUTE = "__endpoint_declarations__"


@dataclass(frozen=True, slots=True)
class Declaration:
    """All about an endpoint that is not its code."""

    method: str
    path: str
    access: Access
    limit: str | None = None
    once_per: str | None = None
    also: tuple[str, ...] = ()
    body_limit_bytes: int = MEBIBYTE
    cancel_on_disconnect: bool = False
    protocols: tuple[str, ...] | None = None

    @property
    def is_websocket(self) -> bool:
        """Whether the connection is taken over for WebSocket."""
        return self.protocols is not None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A declaration and the function that it belongs to."""

    declaration: Declaration
    handler: Handler


def endpoint(
    method: str,
    path: str,
    *,
    access: Access,
    limit: str | None = None,
    once_per: str | None = None,
    also: Sequence[str] = (),
    body_limit_bytes: int = MEBIBYTE,
    cancel_on_disconnect: bool | None = None,
) -> Callable[[HandlerT], HandlerT]:
    """Attach a declaration to a handler; it stays an ordinary function.

    `limit` is a class of `homeserver.core.rate`. `also` are further paths (unstable names, old versions; r0 comes with
    v3 by itself). `once_per` names the path parameter that makes a retransmission recognisable; acting on it is the
    service's business (`RequestInfo.transaction_key`).
    A handler that waits is cancelled when the client goes away: by default for GET only, since what writes must finish.
    """
    if cancel_on_disconnect is None:
        cancel_on_disconnect = method == "GET"
    return _attach(
        Declaration(method, path, access, limit, once_per, tuple(also), body_limit_bytes, cancel_on_disconnect)
    )


def websocket(
    path: str,
    *,
    protocols: Sequence[str],
    access: Access = USER,
    limit: str | None = None,
    also: Sequence[str] = (),
) -> Callable[[HandlerT], HandlerT]:
    """Attach the declaration of a WebSocket endpoint; its handler gets a `Socket` and returns when it is done."""
    return _attach(
        Declaration(
            "GET", path, access, limit, None, tuple(also), 0, cancel_on_disconnect=True, protocols=tuple(protocols)
        )
    )


def endpoints(module: ModuleType | str) -> tuple[Endpoint, ...]:
    """All endpoints that a module defines, in the order of their definition. Takes the module or its `__name__`."""
    found = sys.modules[module] if isinstance(module, str) else module
    return tuple(
        Endpoint(declaration, handler)
        for handler in vars(found).values()
        if inspect.isfunction(handler) and handler.__module__ == found.__name__
        for declaration in declarations_of(handler)
    )


def declarations_of(handler: Handler) -> tuple[Declaration, ...]:
    """The declarations attached to a function."""
    found: tuple[Declaration, ...] = getattr(handler, _ATTRIBUTE, ())
    return found


def _attach(declaration: Declaration) -> Callable[[HandlerT], HandlerT]:
    def attach(handler: HandlerT) -> HandlerT:
        is_async = inspect.iscoroutinefunction(handler)
        if not is_async:
            raise TypeError(f"{handler!r} must be an async def to be an endpoint")
        # Decorators apply from the bottom up; put the upper one first, as it reads.
        setattr(handler, _ATTRIBUTE, (declaration, *declarations_of(handler)))
        return handler

    return attach
