"""Other servers read our list of published rooms. Specification: server-server API, "Public Room Directory"."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName
from homeserver.rooms.public_list import PublicList
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class Page(msgspec.Struct, frozen=True):
    """Which page. Networks behind bridges have no lists of their own here."""

    limit: int | None = None
    since: str | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class Filter(msgspec.Struct, frozen=True):
    """Which rooms."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class Search(msgspec.Struct, frozen=True):
    """Which rooms, and which page of them."""

    limit: int | None = None
    since: str | None = None
    filter: Filter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


@endpoint("GET", "/_matrix/federation/v1/publicRooms", access=SERVER)
async def public_rooms(public_list: PublicList, who: ServerName, query: Page) -> JsonObject:
    """A page of the list. Specification: server-server API, GET /publicRooms."""
    return await public_list.page(limit=query.limit, since=query.since)


@endpoint("POST", "/_matrix/federation/v1/publicRooms", access=SERVER)
async def search_public_rooms(public_list: PublicList, who: ServerName, body: Search) -> JsonObject:
    """A page of what fits a search. Specification: server-server API, POST /publicRooms."""
    wanted = body.filter or Filter()
    return await public_list.page(
        limit=body.limit,
        since=body.since,
        search=wanted.generic_search_term or "",
        room_types=wanted.room_types,
    )


ENDPOINTS = endpoints(__name__)
