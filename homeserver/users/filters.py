"""Filters that clients deposit. Specification: client-server API, "Filtering"."""

from __future__ import annotations

from typing import Final

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.filters import Filter, FilterError
from homeserver.core.ids import UserId
from homeserver.runtime.lru import Lru
from homeserver.web.access import Requester
from homeserver.web.errors import BadJson, Forbidden, NotFound
from storage import filters as filter_table
from storage.database import Database

MAX_CACHED: Final = 10_000
MAX_FILTER_BYTES: Final = 64 * 1024


class Filters:
    """Keeps filters. One that was deposited never changes, so compiled ones are kept in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._compiled: Lru[tuple[str, str], Filter] = Lru(MAX_CACHED)

    async def put(self, who: Requester, user_id: UserId, content: JsonObject) -> str:
        """The id of a filter; the same one gets the same id again. POST /user/{userId}/filter."""
        _check_is_own(who, user_id)
        try:
            Filter.parse(content)
        except FilterError as error:
            raise BadJson(str(error)) from None
        json = msgspec.json.encode(content, order="deterministic")
        if len(json) > MAX_FILTER_BYTES:
            raise BadJson(f"A filter may have at most {MAX_FILTER_BYTES} bytes.")
        return str(await self._database.write(filter_table.put, user_id, json))

    async def get(self, who: Requester, user_id: UserId, filter_id: str) -> bytes:
        """A filter as it was deposited. GET /user/{userId}/filter/{filterId}."""
        _check_is_own(who, user_id)
        return await self._json(user_id, filter_id)

    async def compiled(self, user_id: str, filter_id: str) -> Filter:
        """A deposited filter, ready for use. Raises NotFound."""
        key = (user_id, filter_id)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = Filter.parse(msgspec.json.decode(await self._json(user_id, filter_id)))
            self._compiled.put(key, compiled)
        return compiled

    async def _json(self, user_id: str, filter_id: str) -> bytes:
        json = None
        if filter_id.isascii() and filter_id.isdigit() and len(filter_id) < 16:
            json = await self._database.read(filter_table.one, user_id, int(filter_id))
        if json is None:
            raise NotFound(f"You have no filter {filter_id[:100]!r}.")
        return json


def _check_is_own(who: Requester, user_id: UserId) -> None:
    if who.user_id != user_id:
        raise Forbidden("You may use your own filters only.")
