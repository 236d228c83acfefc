"""Third parties learn who gave them a token. Specification: server-server API, "OpenID"."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.rate import OTHER
from homeserver.users.openid import OpenId
from homeserver.web.endpoint import NONE, endpoint, endpoints


class Question(msgspec.Struct, frozen=True):
    """Which token."""

    access_token: str


@endpoint("GET", "/_matrix/federation/v1/openid/userinfo", access=NONE, limit=OTHER)
async def user_info(openid: OpenId, query: Question) -> JsonObject:
    """Whose token it is. Specification: server-server API, GET /openid/userinfo."""
    return await openid.user_info(query.access_token)


ENDPOINTS = endpoints(__name__)
