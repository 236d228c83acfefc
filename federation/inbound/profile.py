"""Other servers ask for profiles of users of this one. Specification: server-server API, GET /query/profile."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import InvalidId, ServerName, parse_user_id
from homeserver.users.profiles import Profiles
from homeserver.web.endpoint import SERVER, endpoint, endpoints
from homeserver.web.errors import InvalidParam


class Question(msgspec.Struct, frozen=True):
    """Whose profile, and which field of it."""

    user_id: str
    field: str | None = None


@endpoint("GET", "/_matrix/federation/v1/query/profile", access=SERVER)
async def profile(profiles: Profiles, who: ServerName, query: Question) -> JsonObject:
    """A profile, or one field of it."""
    try:
        user_id = parse_user_id(query.user_id)
    except InvalidId as invalid:
        raise InvalidParam(f"{invalid}.") from None
    return await profiles.of_local(user_id, query.field)


ENDPOINTS = endpoints(__name__)
