"""Profiles of other servers' users, asked of their servers. Server-server API, GET /query/profile."""

from __future__ import annotations

from federation.outbound.errors import RemoteError, RemoteRefused
from federation.outbound.queries import Queries
from homeserver.core.canonical_json import JsonObject
from homeserver.web.errors import Forbidden, MatrixError, NotFound


class FederatedProfiles:
    """`RemoteProfiles` over the server-server API."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def profile(self, user_id: str, field: str | None) -> JsonObject:
        """The profile, or one field of it. Raises NotFound."""
        try:
            return await self._queries.profile(user_id, field)
        except RemoteRefused as refusal:
            if refusal.status == 403:
                raise Forbidden(f"The server of {user_id} does not tell of them.") from None
            raise NotFound(f"The server of {user_id} knows no such profile.") from None
        except RemoteError as error:
            raise MatrixError(504, "M_UNKNOWN", f"The server of {user_id} cannot be asked now: {error}.") from None
