"""The history of rooms: pages of messages, and what happened around an event.

Specification: client-server API, GET /rooms/{roomId}/messages, GET /rooms/{roomId}/context/{eventId}.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from homeserver.core.filters import EventFilter
from homeserver.core.state_trie import EMPTY_ROOT
from homeserver.core.tokens import PageToken, SyncToken
from homeserver.rooms.backfill import OlderHistory
from homeserver.rooms.client_events import ClientEvents, json_array
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.pages import Page, PageAsk, Pages, Token
from homeserver.rooms.reading import Reading, Readings
from homeserver.rooms.relations import IgnoredUsers, Relations
from homeserver.rooms.state import StateStore
from homeserver.rooms.visible import Visible
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring
from homeserver.web.errors import NotFound
from storage import relations as relation_table
from storage.database import Database
from storage.history import FIRST, LAST
from storage.rows import EventRow

DEFAULT_LIMIT: Final = 10
MOST_EVENTS: Final = 500
LEAST_READ_FOR_FILTER: Final = 100
MOST_FETCHES: Final = 2
"""How often older history is asked for at other servers, for one answer."""
MOST_ROUNDS: Final = 10
"""Pages that are read for one answer, where a filter or the visibility lets little through."""

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Messages:
    """A request for a page of history. `start` and `stop` are its `from` and `to`."""

    backwards: bool
    start: Token | None = None
    stop: Token | None = None
    limit: int = DEFAULT_LIMIT
    filter: EventFilter = EventFilter()


@dataclass(slots=True)
class _Told:
    """What goes into an answer: events, the reader's memberships at them, and where it ends (None: no more)."""

    rows: list[EventRow]
    memberships: dict[int, str]
    end: PageToken | None = None


@dataclass(frozen=True, slots=True)
class Showing:
    """What it takes to show events to users."""

    visible: Visible
    relations: Relations
    client_events: ClientEvents
    ignored: IgnoredUsers
    clock: Clock

    async def render(
        self, user_id: str, device: int, room: int, rows: Sequence[EventRow], memberships: dict[int, str]
    ) -> list[bytes]:
        """Events that the user may see, with their aggregations."""
        relations = await self.relations.bundled(user_id, room, rows)
        await self.client_events.prepare(rows)
        concealed = await self.visible.concealed(user_id, room, rows, memberships)
        return self.client_events.rendered(
            rows,
            self.clock.now_ms(),
            device=device,
            memberships=memberships,
            relations=relations,
            concealed=concealed,
        )


class History:
    """Answers what happened in rooms."""

    def __init__(
        self,
        database: Database,
        ring: Ring,
        readings: Readings,
        pages: Pages,
        events: EventCache,
        state: StateStore,
        showing: Showing,
        older: OlderHistory,
    ) -> None:
        self._older = older
        self._database = database
        self._ring = ring
        self._readings = readings
        self._pages = pages
        self._events = events
        self._state = state
        self._showing = showing

    async def messages(self, user_id: str, device: int, room_id: str, ask: Messages) -> bytes:
        """A page of a room's history, encoded. GET /rooms/{roomId}/messages."""
        reading = await self._readings.of(user_id, room_id)
        ceiling = reading.ceiling(self._ring.head)
        start = ask.start or (SyncToken(ceiling) if ask.backwards else PageToken(*FIRST))
        told = await self._collect(user_id, reading, ask, start, ceiling)
        chunk = await self._showing.render(user_id, device, reading.room.number, told.rows, told.memberships)
        parts = [b'"chunk":' + json_array(chunk), b'"start":' + _encode(str(start))]
        if told.end is not None:
            parts.append(b'"end":' + _encode(str(told.end)))
        if ask.filter.lazy_load_members and told.rows:
            newest = told.rows[0] if ask.backwards else told.rows[-1]
            members = await self._senders(reading.room.number, newest.state_root or EMPTY_ROOT, told.rows)
            parts.append(b'"state":' + json_array(await self._rendered_state(members)))
        return b"{" + b",".join(parts) + b"}"

    async def context(
        self, user_id: str, device: int, room_id: str, event_id: str, limit: int, wanted: EventFilter
    ) -> bytes:
        """An event with what happened around it, encoded. GET /rooms/{roomId}/context/{eventId}."""
        reading = await self._readings.known_to(user_id, room_id)
        room = reading.room.number
        row = await self._events.by_id(event_id)
        if row is None or row.room != room or not await self._showing.visible.one(user_id, row):
            raise NotFound("There is no such event, or you may not read it.")
        limit = min(limit, MOST_EVENTS)
        ceiling = reading.ceiling(self._ring.head)
        older, newer = await self._pages.around(row, user_id, ceiling, limit - limit // 2, limit // 2)
        before = await self._filtered(user_id, room, older.rows, wanted)
        after = await self._filtered(user_id, room, newer.rows, wanted)
        own, memberships = await self._showing.visible.of(user_id, room, (row,))
        rows = [*before.rows, *own, *after.rows]
        memberships.update(before.memberships)
        memberships.update(after.memberships)
        encoded = await self._showing.render(user_id, device, room, rows, memberships)
        middle = len(before.rows)
        first, last = (older.rows[-1] if older.rows else row), (newer.rows[-1] if newer.rows else row)
        # What lies further on may be of a time that the reader may not see.
        state = await self._state_for_context(room, after.rows[-1] if after.rows else row, wanted, rows)
        return b'{"events_before":%s,"event":%s,"events_after":%s,"start":%s,"end":%s,"state":%s}' % (
            json_array(encoded[:middle]),
            encoded[middle],
            json_array(encoded[middle + 1 :]),
            _encode(str(_before(first))),
            _encode(str(_after(last))),
            json_array(await self._rendered_state(state)),
        )

    async def _collect(self, user_id: str, reading: Reading, ask: Messages, start: Token, ceiling: int) -> _Told:
        """Read pages until there are enough events to tell, or no more."""
        limit = min(ask.limit, MOST_EVENTS)
        room = reading.room.number
        told = _Told([], {})
        if limit <= 0 or not ask.filter.includes_room(reading.room.room_id) or ask.filter.matches_nothing:
            return told
        narrow = not ask.filter.matches_everything or ask.filter.needs_relations
        fetches = 0
        for _ in range(MOST_ROUNDS):
            size = max(limit, LEAST_READ_FOR_FILTER) if narrow or told.end else limit - len(told.rows)
            page = await self._pages.read(
                PageAsk(room, user_id, ask.backwards, start, ask.stop, ceiling, size, ask.filter.lazy_load_members)
            )
            if ask.backwards and fetches < MOST_FETCHES and await self._has_older(reading, page, start):
                fetches += 1
                continue
            gap = None if ask.backwards else await self._gap_in(reading, page, start)
            if gap is not None:
                ahead = [row for row in page.rows if row.event.depth < gap]
                if not ahead and fetches < MOST_FETCHES:
                    fetches += 1
                    if await self._older.fetch(reading.room, gap, gap):
                        continue
                elif not ahead and isinstance(start, PageToken):
                    # There is more in the gap, which the next request asks for.
                    told.end = start
                    break
                page = Page(ahead, more=True) if ahead else page
            found = await self._filtered(user_id, room, page.rows, ask.filter)
            space = limit - len(told.rows)
            told.rows += found.rows[:space]
            told.memberships.update(found.memberships)
            told.end = self._end(page, found.rows, space, backwards=ask.backwards)
            if told.end is None and ask.backwards and (fetches == MOST_FETCHES or reading.room.partial is not None):
                # Other servers may well have more, which the next request asks them for.
                told.end = _before(page.rows[-1]) if page.rows else start if isinstance(start, PageToken) else None
                break
            if told.end is None or len(told.rows) >= limit:
                break
            start = told.end
        return told

    @staticmethod
    def _end(page: Page, found: Sequence[EventRow], space: int, *, backwards: bool) -> PageToken | None:
        """Where the next page starts; None where nothing is left."""
        if len(found) > space:
            last = found[space - 1]
        elif page.more:
            last = page.rows[-1]
        else:
            return None
        return _before(last) if backwards else _after(last)

    async def _gap_in(self, reading: Reading, page: Page, start: Token) -> int | None:
        """Depth of the first event of a page, read forwards, before which our history has a gap; None: it has none.

        What lies before the first event of all is no gap: nobody who reads from there wants to wait for all of it.
        """
        if reading.until is not None or not page.rows or not isinstance(start, PageToken) or start.depth < 0:
            return None
        return await self._older.gap(reading.room, start.depth + 1, page.rows[-1].event.depth)

    async def _has_older(self, reading: Reading, page: Page, start: Token) -> bool:
        """Whether other servers could tell more of what belongs into a page."""
        if reading.until is not None:
            return False
        low = page.rows[-1].event.depth if page.more and page.rows else 0
        high = start.depth if isinstance(start, PageToken) else LAST[0]
        return await self._older.fetch(reading.room, low, high)

    async def _filtered(self, user_id: str, room: int, rows: Sequence[EventRow], wanted: EventFilter) -> _Told:
        """Those of the events that the user may see and wants to."""
        visible, memberships = await self._showing.visible.of(user_id, room, rows)
        ignored = await self._showing.ignored.ignored(user_id)
        if ignored:
            visible = [row for row in visible if row.event.is_state or row.event.sender not in ignored]
        if not wanted.matches_everything:
            visible = [row for row in visible if wanted.matches(row.event)]
        if wanted.needs_relations and visible:
            kinds = await self._database.read(relation_table.kinds_of, [row.event.event_id for row in visible])
            visible = [row for row in visible if wanted.matches_children(kinds.get(row.event.event_id, ()))]
        return _Told(visible, memberships)

    async def _state_for_context(
        self, room: int, last: EventRow, wanted: EventFilter, shown: Sequence[EventRow]
    ) -> list[EventRow]:
        root = last.state_root or EMPTY_ROOT
        members = False if wanted.lazy_load_members else None
        positions = [position for _, position in await self._state.items(room, root, members)]
        if last.event.state_key is not None:
            # The state at an event that changes it is the one with it.
            replaced = await self._state.get(room, root, last.event.type, last.event.state_key)
            positions = [position for position in positions if position != replaced]
            if members is None or last.event.type != "m.room.member":
                positions.append(last.position)
        found = await self._events.by_positions(positions)
        rows = [found[position] for position in positions if position in found]
        if wanted.lazy_load_members:
            rows += await self._senders(room, root, shown)
        return rows if wanted.matches_everything else [row for row in rows if wanted.matches(row.event)]

    async def _senders(self, room: int, root: bytes, rows: Iterable[EventRow]) -> list[EventRow]:
        """The member events of those who sent these events."""
        keys = dict.fromkeys(("m.room.member", row.event.sender) for row in rows)
        positions = await self._state.get_many(room, root, keys)
        found = await self._events.by_positions(positions.values())
        return [found[position] for position in positions.values() if position in found]

    async def _rendered_state(self, rows: Sequence[EventRow]) -> list[bytes]:
        return await self._showing.client_events.rendered_state(rows, self._showing.clock.now_ms())


def _before(row: EventRow) -> PageToken:
    """The place just before an event."""
    return PageToken(row.event.depth, row.position - 1)


def _after(row: EventRow) -> PageToken:
    """The place just after an event."""
    return PageToken(row.event.depth, row.position)
