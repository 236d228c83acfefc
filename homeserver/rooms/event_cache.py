"""Events by position and by id.

An event never changes, but for one thing: a redaction replaces it by its redacted form.

There is one row object for an event in this process: who holds it sees the redaction. Constructed before the other
followers of the ring, so that they find redactions applied.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from weakref import WeakValueDictionary

from homeserver.core.event import Event
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import events as event_table
from storage.database import Database
from storage.rows import Entry, EventRow

CACHE_BYTES = 128 * 1024 * 1024
ROW_OVERHEAD_BYTES = 1_500
RECENT_REDACTIONS = 10_000
"""Redactions remembered so that a read which began before one of them cannot bring the old form back."""


def _weigh(position: int, row: EventRow) -> int:
    return ROW_OVERHEAD_BYTES + 3 * len(row.event.json)


class EventCache:
    """Events that were used lately."""

    def __init__(self, database: Database, ring: Ring, cache_bytes: int = CACHE_BYTES) -> None:
        self._database = database
        self._rows: Lru[int, EventRow] = Lru(cache_bytes, _weigh, self._forget_id)
        self._live: WeakValueDictionary[int, EventRow] = WeakValueDictionary()
        """Other rows that somebody holds, such as the ring: there must be no second object for their events."""
        self._positions: dict[str, int] = {}
        self._redacted: OrderedDict[int, tuple[Event, int]] = OrderedDict()
        self._since: int | None = None
        """The first position that was published here."""
        self._gone = 0
        """The last position that has left the memory, or that is followed by what has."""
        ring.subscribe(self._published, EventRow)

    async def by_positions(self, positions: Iterable[int]) -> dict[int, EventRow]:
        """Those of the events that we have; whatever is not in memory in one read."""
        found: dict[int, EventRow] = {}
        absent: list[int] = []
        for position in positions:
            row = self._rows.get(position)
            if row is None:
                absent.append(position)
            else:
                found[position] = row
        if absent:
            for row in self.remember_all(await self._database.read(event_table.by_positions, absent)):
                found[row.position] = row
        return found

    async def passing_by(self, positions: Iterable[int]) -> dict[int, EventRow]:
        """The same for very many that are looked at once: they do not drive others out of the memory."""
        found: dict[int, EventRow] = {}
        absent: list[int] = []
        for position in positions:
            row = self._rows.peek(position) or self._live.get(position)
            if row is None:
                absent.append(position)
            else:
                found[position] = row
        if absent:
            for row in await self._database.read(event_table.by_positions, absent):
                redaction = self._redacted.get(row.position)
                if redaction is not None and row.redacted_by is None:
                    _redact(row, *redaction)
                found[row.position] = row
        return found

    async def by_ids(self, event_ids: Iterable[str]) -> dict[str, EventRow]:
        """Those of the events that we have, by event id."""
        found: dict[str, EventRow] = {}
        absent: list[str] = []
        for event_id in event_ids:
            row = self.cached_by_id(event_id)
            if row is None:
                absent.append(event_id)
            else:
                found[event_id] = row
        if absent:
            for row in self.remember_all(await self._database.read(event_table.by_ids, absent)):
                found[row.event.event_id] = row
        return found

    async def by_id(self, event_id: str) -> EventRow | None:
        """One event by its id; None if we do not have it."""
        return (await self.by_ids((event_id,))).get(event_id)

    def cached(self, position: int) -> EventRow | None:
        """The event if it is in memory."""
        return self._rows.get(position)

    def holds(self, position: int) -> bool:
        """Whether the event is in memory; may be asked in any thread."""
        return position in self._rows

    def is_recent(self, row: EventRow) -> bool:
        """Whether all that came to its room after this event is still in memory."""
        return self._since is not None and row.position >= self._since and row.position > self._gone

    def cached_by_id(self, event_id: str) -> EventRow | None:
        """The event if it is in memory."""
        position = self._positions.get(event_id)
        return None if position is None else self._rows.get(position)

    def remember_all(self, rows: Iterable[EventRow]) -> list[EventRow]:
        """Take rows that were read from the database; gives the rows to use: the known ones where there are some."""
        return [self.remember(row) for row in rows]

    def remember(self, row: EventRow) -> EventRow:
        """Take one row; gives the one to use."""
        known = self._rows.get(row.position)
        if known is not None:
            return known
        known = self._live.get(row.position) if self._live else None
        if known is not None:
            return self._keep(known)
        redaction = self._redacted.get(row.position)
        if redaction is not None and row.redacted_by is None:
            _redact(row, *redaction)
        return self._keep(row)

    def _keep(self, row: EventRow) -> EventRow:
        self._rows.put(row.position, row)
        if row.position in self._rows:
            self._positions[row.event.event_id] = row.position
        else:
            self._live[row.position] = row
        return row

    def _forget_id(self, position: int, row: EventRow) -> None:
        self._positions.pop(row.event.event_id, None)
        self._live[position] = row
        # What does not come after all before it in the log (soft-failed, rejected) comes after what it follows.
        followed = (self._positions.get(event_id, 0) for event_id in row.event.prev_events)
        self._gone = max(self._gone, position, *followed)

    def settled(self, row: EventRow) -> None:
        """A new event is committed."""
        self.remember(row)
        if row.changes is not None and row.changes.redaction is not None:
            redaction = row.changes.redaction
            self._apply(redaction.position, redaction.event, row.position)

    def _published(self, entries: Sequence[Entry]) -> None:
        if self._since is None and entries:
            self._since = entries[0].position
        for entry in entries:
            if isinstance(entry, EventRow):
                self.settled(entry)

    def _apply(self, position: int, event: Event, redacted_by: int) -> None:
        self._redacted[position] = (event, redacted_by)
        while len(self._redacted) > RECENT_REDACTIONS:
            self._redacted.popitem(last=False)
        row = self._rows.discard(position) or self._live.get(position)
        if row is None:
            self._gone = max(self._gone, position)
        else:
            _redact(row, event, redacted_by)
            self._keep(row)
        if event.state_key is not None:
            for follower in (*self._rows.values(), *self._live.values()):
                if follower.replaces == position:
                    # It tells what it replaced: `prev_content`.
                    follower.unsigned_json, follower.prev_content_json = None, b""


def _redact(row: EventRow, event: Event, redacted_by: int) -> None:
    row.event = event
    row.redacted_by = redacted_by
    row.client_json = None
    row.unsigned_json = None
