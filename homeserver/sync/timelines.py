"""The newest events of rooms, as /sync reads them: from the ring, from a room's remembered tail, or the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from homeserver.rooms.event_cache import EventCache
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import events as event_table
from storage.database import Database
from storage.rows import Entry, EventRow, Status

TAIL_LENGTH = 60
"""Events remembered at the end of a room."""
MOST_TAILS = 4_000
PAGE = 100
MOST_PAGES = 20
"""How far back a filter that lets little through is followed before the timeline is given as it is."""


class Timeline(msgspec.Struct, frozen=True):
    """Events in the order of their positions. `limited`: older ones that would also belong here were left out.

    `after_gap`: what came before the first of them was no news here; it is found by its place in the history.
    """

    rows: Sequence[EventRow]
    limited: bool
    after_gap: bool = False


@dataclass(slots=True)
class _Tail:
    """The newest events of a room, oldest first; all of the room's events after `complete_after` are here."""

    rows: list[EventRow]
    complete_after: int


class Timelines:
    """Reads the ends of rooms. A follower of the ring, which keeps the remembered tails current."""

    def __init__(self, database: Database, ring: Ring, events: EventCache) -> None:
        self._database = database
        self._ring = ring
        self._events = events
        self._tails: Lru[int, _Tail] = Lru(MOST_TAILS)
        ring.subscribe(self._published, EventRow)

    async def newest(
        self,
        room: int,
        after: int | None,
        upto: int,
        limit: int,
        wanted: Callable[[EventRow], bool] | None = None,
    ) -> Timeline:
        """The last `limit` events of a room in (`after`, `upto`] that are `wanted`; `after` None: from the start."""
        known = self._known(room, after)
        if known is None:
            known = await self._tail(room)
        found, complete = self._select(known, after, upto, limit, wanted)
        if complete or len(found) > limit:
            return _timeline(found, limit)
        return await self._read_on(room, after, upto, limit, wanted)

    def _known(self, room: int, after: int | None) -> _Tail | None:
        if after is not None and self._ring.covers(after):
            return _Tail(_shown(self._ring.room_after(room, after)), after)
        return self._tails.get(room)

    async def _tail(self, room: int) -> _Tail:
        rows = await self._database.read(event_table.newest_in_room, room, self._ring.head, TAIL_LENGTH)
        rows = self._events.remember_all(rows)
        tail = _Tail(rows, rows[0].position - 1 if len(rows) == TAIL_LENGTH else 0)
        # What was published while we read belongs at the end.
        newest = rows[-1].position if rows else 0
        rows += _shown(self._ring.room_after(room, newest))
        self._tails.put(room, tail)
        return tail

    @staticmethod
    def _select(
        tail: _Tail, after: int | None, upto: int, limit: int, wanted: Callable[[EventRow], bool] | None
    ) -> tuple[list[EventRow], bool]:
        """Newest first: up to limit + 1 events, and whether the tail reached back far enough to be sure."""
        found: list[EventRow] = []
        least = 0 if after is None else after
        for row in reversed(tail.rows):
            if row.position <= least:
                return found, True
            # What was accepted while a part of the state was unknown may have been judged otherwise since.
            if row.position <= upto and _may_show(row) and (wanted is None or wanted(row)):
                found.append(row)
                if len(found) > limit:
                    return found, True
        return found, tail.complete_after <= least

    async def _read_on(
        self, room: int, after: int | None, upto: int, limit: int, wanted: Callable[[EventRow], bool] | None
    ) -> Timeline:
        found: list[EventRow] = []
        least = 0 if after is None else after
        for _ in range(MOST_PAGES):
            page = await self._database.read(
                event_table.newest_in_room, room, upto, PAGE if wanted else limit + 1, least
            )
            page = self._events.remember_all(page)
            found += [row for row in reversed(page) if wanted is None or wanted(row)]
            if len(found) > limit or len(page) < (PAGE if wanted else limit + 1):
                break
            upto = page[0].position - 1
        else:
            return Timeline(found[limit - 1 :: -1] if limit else [], True)
        return _timeline(found, limit)

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, EventRow) and _may_show(entry):
                tail = self._tails.get(entry.room)
                if tail is not None and (not tail.rows or tail.rows[-1].position < entry.position):
                    tail.rows.append(entry)
                    if len(tail.rows) > 2 * TAIL_LENGTH:
                        tail.complete_after = tail.rows[TAIL_LENGTH - 1].position
                        del tail.rows[:TAIL_LENGTH]


def _timeline(newest_first: list[EventRow], limit: int) -> Timeline:
    limited = len(newest_first) > limit
    rows = newest_first[:limit]
    rows.reverse()
    return Timeline(rows, limited)


def _may_show(row: EventRow) -> bool:
    return row.status is Status.ACCEPTED and not row.is_history


def _shown(entries: Iterable[Entry]) -> list[EventRow]:
    return [entry for entry in entries if isinstance(entry, EventRow) and _may_show(entry)]
