"""Proofs for third parties of who one is. Specification: client-server API, "OpenID"."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import UserId
from homeserver.core.rate import OTHER
from homeserver.users.openid import OpenId
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints


@endpoint("POST", "/_matrix/client/v3/user/{user_id}/openid/request_token", access=USER, limit=OTHER)
async def request_token(openid: OpenId, who: Requester, user_id: UserId) -> JsonObject:
    """A token. Specification: client-server API, POST /user/{userId}/openid/request_token."""
    return await openid.token(who, user_id)


ENDPOINTS = endpoints(__name__)
