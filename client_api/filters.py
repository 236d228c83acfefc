"""Filters. Specification: client-server API, "Filtering"."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import UserId
from homeserver.core.rate import OTHER
from homeserver.users.filters import Filters
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints


@endpoint("POST", "/_matrix/client/v3/user/{user_id}/filter", access=USER, limit=OTHER)
async def deposit_filter(filters: Filters, who: Requester, user_id: UserId, content: JsonObject) -> dict[str, str]:
    """Deposit a filter."""
    return {"filter_id": await filters.put(who, user_id, content)}


@endpoint("GET", "/_matrix/client/v3/user/{user_id}/filter/{filter_id}", access=USER)
async def deposited_filter(filters: Filters, who: Requester, user_id: UserId, filter_id: str) -> bytes:
    """A filter as it was deposited."""
    return await filters.get(who, user_id, filter_id)


ENDPOINTS = endpoints(__name__)
