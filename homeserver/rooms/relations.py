"""What relates to events: the aggregations bundled with them, and the lists of children and of threads.

Specification: client-server API, "Aggregations of child events", "Threading", GET /rooms/{roomId}/relations/{eventId}
and GET /rooms/{roomId}/threads (the latter two in homeserver.rooms.related).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from homeserver.core.relations import (
    REFERENCE,
    RELATES_TO,
    REPLACEMENT,
    THREAD,
    is_valid_replacement,
    latest_replacement,
    participated,
    relation_of,
)
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.visible import Visible
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import events as event_table
from storage import relations as relation_table
from storage.database import Cursor, Database
from storage.relations import Children
from storage.rows import Entry, EventRow, Relates, SentHere, TakesBack

MOST_CHILDLESS: Final = 200_000
MOST_ROOMS: Final = 2_000
MOST_PARENTS_IN_ROOM: Final = 2_000

_encode = msgspec.json.encode


class IgnoredUsers(Protocol):
    """Whom users ignore."""

    async def ignored(self, user_id: str) -> frozenset[str]:
        """The users that this user ignores."""
        ...


@dataclass(slots=True)
class FoundChildren:
    """What a visit to the database found: children of the events asked for, and the rows that showing them needs."""

    asked: Sequence[str]
    children: dict[str, Children] = field(default_factory=dict)
    rows: list[EventRow] = field(default_factory=list)


class Relations:
    """Knows what relates to events. A follower of the ring; what has no children costs no look at the tables twice."""

    def __init__(
        self,
        database: Database,
        ring: Ring,
        events: EventCache,
        client_events: ClientEvents,
        visible: Visible,
        ignored: IgnoredUsers,
        clock: Clock,
    ) -> None:
        self._database = database
        self._events = events
        self._client_events = client_events
        self._visible = visible
        self._ignored = ignored
        self._clock = clock
        self._childless: Lru[str, bool] = Lru(MOST_CHILDLESS)
        self._parents: Lru[int, dict[str, Children]] = Lru(MOST_ROOMS)
        """Room → event id → its children."""
        self._changes = 0
        """Grows with every change of relations, so that what was read before one is not kept after it."""
        ring.subscribe(self._published, SentHere, TakesBack, Relates)

    async def bundled(self, user_id: str, room: int, rows: Sequence[EventRow]) -> Mapping[str, bytes]:
        """Event id → the encoded `m.relations`, for those of the events that have any."""
        parents = await self._with_children(room, rows)
        if not parents:
            return {}
        ignored = await self._ignored.ignored(user_id)
        latest = {row.position: _latest(children, ignored) for row, children in parents if children.thread}
        shown = await self._visible_children(user_id, room, parents, latest.values())
        newest = [shown[position] for position in latest.values() if position in shown]
        grandchildren = {
            row.position: children for row, children in (await self._with_children(room, newest) if newest else ())
        }
        if any(children.edits for children in grandchildren.values()):
            edited = [(row, grandchildren[row.position]) for row in newest if row.position in grandchildren]
            shown.update(await self._visible_children(user_id, room, edited, ()))
        bundles: dict[str, bytes] = {}
        for row, children in parents:
            parts = self._own_parts(row, children, shown, ignored)
            root_of = shown.get(latest.get(row.position, 0))
            if root_of is not None:
                nested = grandchildren.get(root_of.position)
                inner = [] if nested is None else self._own_parts(root_of, nested, shown, ignored)
                event = self._render(root_of, b"{" + b",".join(inner) + b"}" if inner else None)
                parts.append(_thread(user_id, row, children, event, ignored))
            if parts:
                bundles[row.event.event_id] = b"{" + b",".join(parts) + b"}"
        return bundles

    def unknown(self, room: int, event_ids: Iterable[str]) -> list[str]:
        """Those of the events of whose children nothing is known here; may be asked in any thread."""
        known = self._parents.peek(room) or {}
        return [event_id for event_id in event_ids if event_id not in self._childless and event_id not in known]

    @property
    def changes(self) -> int:
        """To be noted before a visit to the database, and given to `remember` after it."""
        return self._changes

    @staticmethod
    def read(tx: Cursor, room: int, event_ids: Sequence[str], held: Container[int] = ()) -> FoundChildren:
        """What relates to these events of a room. `held`: positions of events that need not be read."""
        found = FoundChildren(event_ids)
        if event_ids:
            found.children = relation_table.children(tx, room, event_ids)
            wanted = {position for each in found.children.values() for position in _positions(each)}
            absent = [position for position in wanted if position not in held]
            if absent:
                found.rows = event_table.by_positions(tx, absent)
        return found

    def remember(self, room: int, found: FoundChildren, changes: int) -> dict[str, Children]:
        """Keep what was found, unless something changed meanwhile; gives the children of those that have any."""
        self._events.remember_all(found.rows)
        if changes == self._changes:
            for event_id in found.asked:
                if event_id not in found.children:
                    self._childless.put(event_id, True)
            if found.children:
                known = self._parents.get(room)
                if known is None or len(known) > MOST_PARENTS_IN_ROOM:
                    known = {}
                    self._parents.put(room, known)
                known.update(found.children)
        return found.children

    async def _with_children(self, room: int, rows: Sequence[EventRow]) -> list[tuple[EventRow, Children]]:
        """Those of the events that have children, with them. State events get no aggregations."""
        known = self._parents.get(room) or {}
        asked = [row for row in rows if row.event.state_key is None and row.event.event_id not in self._childless]
        unknown = [row.event.event_id for row in asked if row.event.event_id not in known]
        if unknown:
            changes = self._changes
            found = await self._database.read(self.read, room, unknown, _Held(self._events))
            known = {**known, **self.remember(room, found, changes)}
        return [(row, known[row.event.event_id]) for row in asked if row.event.event_id in known]

    async def _visible_children(
        self, user_id: str, room: int, parents: Sequence[tuple[EventRow, Children]], latest: Iterable[int]
    ) -> dict[int, EventRow]:
        """Those of the edits that count, and of the newest events of threads, that the user may see."""
        wanted = {position for position in latest if position}
        edits = {position for _row, children in parents for position in children.edits}
        rows = await self._events.by_positions(wanted | edits)
        for row, children in parents:
            if children.edits:
                candidates = [rows[position].event for position in children.edits if position in rows]
                counts = latest_replacement(row.event, candidates)
                wanted.update(
                    position for position in children.edits if counts is not None and rows[position].event is counts
                )
        chosen = [rows[position] for position in wanted if position in rows]
        visible, _memberships = await self._visible.of(user_id, room, chosen)
        await self._client_events.prepare(visible)
        return {row.position: row for row in visible}

    def _own_parts(
        self, row: EventRow, children: Children, shown: Mapping[int, EventRow], ignored: frozenset[str]
    ) -> list[bytes]:
        """The members of `m.relations` but for the thread."""
        parts: list[bytes] = []
        references = [event_id for event_id, sender in children.references if sender not in ignored]
        if references:
            chunk = b",".join(b'{"event_id":' + _encode(event_id) + b"}" for event_id in references)
            parts.append(b'"%s":{"chunk":[%s]}' % (REFERENCE.encode(), chunk))
        # A redacted event gets no replacement.
        if children.edits and row.redacted_by is None:
            for position in children.edits:
                edit = shown.get(position)
                if edit is not None and is_valid_replacement(row.event, edit.event):
                    parts.append(b'"%s":' % REPLACEMENT.encode() + self._render(edit, None))
                    break
        return parts

    def _render(self, row: EventRow, relations: bytes | None) -> bytes:
        return ClientEvents.render(row, self._clock.now_ms(), relations=relations)

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if not isinstance(entry, EventRow):
                continue
            event = entry.event
            if event.redacts is not None:
                # The redacted event relates to nothing any more.
                self._changes += 1
                self._parents.discard(entry.room)
            if RELATES_TO in event.content:
                relation = relation_of(event.content)
                if relation is not None:
                    self._changes += 1
                    self._childless.discard(relation.event_id)
                    known = self._parents.peek(entry.room)
                    if known is not None:
                        known.pop(relation.event_id, None)
            if entry.device is not None:
                # Made here just now, so nothing can relate to it yet.
                self._childless.put(event.event_id, True)


class _Held:
    """The positions of events in memory, as a container; may be asked in any thread."""

    def __init__(self, events: EventCache) -> None:
        self._events = events

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and self._events.holds(position)


def _positions(children: Children) -> list[int]:
    return [*children.edits, *(position for _count, position in children.thread.values())]


def _latest(children: Children, ignored: frozenset[str]) -> int:
    """Position of the newest event of a thread that is by nobody ignored; 0 if there is none."""
    return max((at for sender, (_count, at) in children.thread.items() if sender not in ignored), default=0)


def _thread(user_id: str, root: EventRow, children: Children, latest: bytes, ignored: frozenset[str]) -> bytes:
    count = sum(count for sender, (count, _at) in children.thread.items() if sender not in ignored)
    took_part = participated(user_id, root.event.sender, children.thread)
    return b'"%s":{"latest_event":%s,"count":%d,"current_user_participated":%s}' % (
        THREAD.encode(),
        latest,
        count,
        b"true" if took_part else b"false",
    )
