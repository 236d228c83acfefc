"""Whose keys changed. Specification: client-server API, GET /keys/changes."""

from __future__ import annotations

import msgspec

from homeserver.core.rate import KEYS
from homeserver.sync.key_changes import KeyChanges
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints


class ChangesQuery(msgspec.Struct, frozen=True, rename={"since": "from", "upto": "to"}):
    """Two tokens of /sync."""

    since: str
    upto: str


@endpoint("GET", "/_matrix/client/v3/keys/changes", access=USER_OR_GUEST, limit=KEYS)
async def changed_keys(changes: KeyChanges, who: Requester, query: ChangesQuery) -> dict[str, list[str]]:
    """The users whose devices or keys changed between two tokens."""
    found = await changes.between(who.user_id, query.since, query.upto)
    return {"changed": sorted(found.changed), "left": sorted(found.left)}


ENDPOINTS = endpoints(__name__)
