"""Requests to /sync as they come in: tokens and filters are read here, a filter once for all who use it.

Specification: client-server API, GET /_matrix/client/v3/sync; "Filtering".
"""

from __future__ import annotations

from typing import Final, Protocol

from homeserver.core import canonical_json
from homeserver.core.canonical_json import BadJson
from homeserver.core.filters import NO_FILTER, EventFilter, Filter, FilterError
from homeserver.core.tokens import BadToken, parse_sync_token
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from homeserver.sync.engine import SyncEngine, SyncRequest
from homeserver.users.presence import Presence
from homeserver.web.errors import InvalidParam

LONGEST_WAIT_MS: Final = 10 * 60 * 1000
MOST_FILTERS: Final = 2_000
LONGEST_FILTER: Final = 64 * 1024


class StoredFilters(Protocol):
    """Filters that clients have deposited."""

    async def compiled(self, user_id: str, filter_id: str) -> Filter:
        """A filter of a user; NotFound if there is none with this id."""
        ...


class Asking:
    """Turns requests into questions to the engine."""

    def __init__(self, engine: SyncEngine, filters: StoredFilters, ring: Ring, presence: Presence) -> None:
        self._engine = engine
        self._filters = filters
        self._ring = ring
        self._presence = presence
        self._parsed: Lru[str, Filter] = Lru(MOST_FILTERS)

    async def sync(
        self,
        user_id: str,
        device: int,
        *,
        since: str | None,
        filter: str | None,
        full_state: bool,
        state_as: bytes,
        timeout_ms: int,
        set_presence: str,
    ) -> bytes:
        """The answer to GET /sync."""
        request = SyncRequest(
            user_id=user_id,
            device=device,
            since=self.position(since),
            filter=await self.filter(user_id, filter),
            full_state=full_state,
            state_as=state_as,
            timeout_ms=max(0, min(timeout_ms, LONGEST_WAIT_MS)),
        )
        if not self._presence.enabled:
            return await self._engine.answer(request)
        self._presence.begin(user_id, device, set_presence)
        try:
            return await self._engine.answer(request)
        finally:
            self._presence.end(user_id, device)

    def position(self, since: str | None) -> int | None:
        """The position that a token stands for. InvalidParam for what is no token of ours, or of another time."""
        if since is None or since == "":
            return None
        try:
            position = parse_sync_token(since).position
        except BadToken as bad:
            raise InvalidParam(str(bad)) from None
        if position > self._ring.head:
            raise InvalidParam("This token is newer than all that this server knows: sync without `since`.")
        return position

    async def filter(self, user_id: str, text: str | None) -> Filter:
        """The filter that a request names: one by its id, or the JSON of one."""
        if not text:
            return NO_FILTER
        if not text.startswith("{"):
            return await self._filters.compiled(user_id, text)
        known = self._parsed.get(text)
        if known is None:
            known = parse_filter(text)
            self._parsed.put(text, known)
        return known


def parse_filter(text: str) -> Filter:
    """A whole filter in a query string."""
    try:
        return Filter.parse(_json(text))
    except FilterError as error:
        raise InvalidParam(f"The filter is not valid: {error}") from None


def parse_event_filter(text: str | None) -> EventFilter:
    """A filter for room events in a query string, as of GET /rooms/{roomId}/messages."""
    if not text:
        return EventFilter()
    try:
        return EventFilter.parse(_json(text))
    except FilterError as error:
        raise InvalidParam(f"The filter is not valid: {error}") from None


def _json(text: str) -> canonical_json.JsonValue:
    if len(text) > LONGEST_FILTER:
        raise InvalidParam("The filter is too long.")
    try:
        return canonical_json.decode(text.encode("utf-8", "surrogatepass"))
    except BadJson as error:
        raise InvalidParam(f"The filter is not valid JSON: {error}.") from None
