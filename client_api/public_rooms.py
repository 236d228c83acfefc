"""The list of published rooms. Specification: client-server API, "Published room directory"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate
from homeserver.core.canonical_json import JsonObject
from homeserver.rooms.public_list import PublicList
from homeserver.web.endpoint import NONE, USER_OR_GUEST, Requester, endpoint, endpoints


class ListQuery(msgspec.Struct, frozen=True):
    """The query of GET /publicRooms."""

    limit: int | None = None
    since: str | None = None
    server: str | None = None


class ServerQuery(msgspec.Struct, frozen=True):
    """The query of POST /publicRooms."""

    server: str | None = None


class ListFilter(msgspec.Struct, frozen=True):
    """Which rooms are wanted; None among the types stands for rooms without one."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class ListAsk(msgspec.Struct, frozen=True):
    """The body of POST /publicRooms."""

    limit: int | None = None
    since: str | None = None
    filter: ListFilter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


@endpoint("GET", "/_matrix/client/v3/publicRooms", access=NONE, limit=rate.DIRECTORY)
async def public_rooms(public: PublicList, query: ListQuery) -> JsonObject:
    """A page of the list. Specification: client-server API, GET /publicRooms."""
    return await public.page(limit=query.limit, since=query.since or None, server=query.server)


@endpoint("POST", "/_matrix/client/v3/publicRooms", access=USER_OR_GUEST, limit=rate.DIRECTORY)
async def search_public_rooms(public: PublicList, who: Requester, query: ServerQuery, body: ListAsk) -> JsonObject:
    """A page of those that fit. Specification: client-server API, POST /publicRooms."""
    wanted = body.filter or ListFilter()
    return await public.page(
        limit=body.limit,
        since=body.since or None,
        server=query.server,
        search=wanted.generic_search_term or "",
        room_types=wanted.room_types,
    )


ENDPOINTS = endpoints(__name__)
