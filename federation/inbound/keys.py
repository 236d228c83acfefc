"""Keys of this server, and of others for whom it is a notary.

Specification: server-server API, "Retrieving server keys".
"""

from __future__ import annotations

import msgspec

from federation.outbound.notary import Notary
from federation.outbound.own_keys import OwnKeys
from homeserver.core import rate
from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName
from homeserver.web.endpoint import NONE, endpoint, endpoints


class Keys:
    """What the doors of this module need."""

    def __init__(self, own: OwnKeys, notary: Notary) -> None:
        self.own = own
        self.notary = notary


class KeyQuery(msgspec.Struct, frozen=True):
    """The query string of GET /_matrix/key/v2/query/{serverName}."""

    minimum_valid_until_ts: int | None = None


class Criteria(msgspec.Struct, frozen=True):
    """What is asked of one key."""

    minimum_valid_until_ts: int | None = None


class KeysQuery(msgspec.Struct, frozen=True):
    """The body of POST /_matrix/key/v2/query."""

    server_keys: dict[str, dict[str, Criteria]]


@endpoint("GET", "/_matrix/key/v2/server", access=NONE, limit=rate.OTHER)
async def own_keys(keys: Keys) -> JsonObject:
    """The keys of this server. Specification: server-server API, GET /_matrix/key/v2/server."""
    return keys.own.published()


@endpoint("GET", "/_matrix/key/v2/server/{key_id}", access=NONE, limit=rate.OTHER)
async def own_keys_by_id(keys: Keys, key_id: str) -> JsonObject:
    """The same for old servers, which name the key that they look for; the answer has all keys whatever they name."""
    return keys.own.published()


@endpoint("GET", "/_matrix/key/v2/query/{server_name}", access=NONE, limit=rate.KEYS)
async def query_one(keys: Keys, server_name: ServerName, query: KeyQuery) -> JsonObject:
    """The keys of another server. Specification: server-server API, GET /_matrix/key/v2/query/{serverName}."""
    asked: dict[str, int | None] = {}
    return await _answer(keys, {server_name: asked}, query.minimum_valid_until_ts)


@endpoint("POST", "/_matrix/key/v2/query", access=NONE, limit=rate.KEYS)
async def query_many(keys: Keys, body: KeysQuery) -> JsonObject:
    """The keys of several servers. Specification: server-server API, POST /_matrix/key/v2/query."""
    asked = {
        server: {key_id: criteria.minimum_valid_until_ts for key_id, criteria in key_ids.items()}
        for server, key_ids in body.server_keys.items()
    }
    return await _answer(keys, asked, None)


async def _answer(keys: Keys, asked: dict[str, dict[str, int | None]], until_ts: int | None) -> JsonObject:
    return {"server_keys": [*await keys.notary.query(asked, until_ts)]}


ENDPOINTS = endpoints(__name__)
