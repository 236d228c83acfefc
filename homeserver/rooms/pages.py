"""Reads a page of a room's history, with all that showing it needs, in one visit to the database.

What comes back is put into the caches, so that those who judge and encode the events afterwards find it in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from homeserver.core import state_trie
from homeserver.core.state_trie import EMPTY_ROOT, Load, NodeId, Slot
from homeserver.core.tokens import PageToken, SyncToken
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.relations import FoundChildren, Relations
from homeserver.rooms.state import StateStore
from storage import events as event_table
from storage import history as history_table
from storage.database import Cursor, Database
from storage.history import FIRST, LAST, Place, Stretch
from storage.rows import EventRow

Token = SyncToken | PageToken


@dataclass(frozen=True, slots=True)
class PageAsk:
    """Which page. `start` None: from the end, or from the beginning. `ceiling`: nothing after this position."""

    room: int
    user_id: str
    backwards: bool
    start: Token | None
    stop: Token | None
    ceiling: int
    limit: int
    lazy_members: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Events in the order in which they are told. `more`: whether there are others beyond."""

    rows: Sequence[EventRow]
    more: bool


@dataclass(slots=True)
class _Visit:
    """What a visit brought."""

    positions: list[int]
    more: bool
    rows: list[EventRow] = field(default_factory=list)
    nodes: dict[NodeId, bytes] = field(default_factory=dict)
    children: FoundChildren = field(default_factory=lambda: FoundChildren(()))


class Pages:
    """Reads pages."""

    def __init__(self, database: Database, state: StateStore, events: EventCache, relations: Relations) -> None:
        self._database = database
        self._state = state
        self._events = events
        self._relations = relations

    async def read(self, ask: PageAsk) -> Page:
        """One page."""
        changes = self._relations.changes
        visit = await self._database.read(self._visit, ask)
        return Page(await self._take(ask.room, visit, changes), visit.more)

    async def around(self, row: EventRow, user_id: str, ceiling: int, before: int, after: int) -> tuple[Page, Page]:
        """What comes before an event, newest first, and what comes after it."""
        here = (row.event.depth, row.position)
        just_before = (here[0], here[1] - 1)
        changes = self._relations.changes

        def visit_both(tx: Cursor) -> tuple[_Visit, _Visit]:
            older = Stretch(row.room, FIRST, just_before, LAST_NEGATIVE, ceiling)
            newer = Stretch(row.room, here, LAST, LAST_NEGATIVE, ceiling)
            return (
                self._fill(tx, row.room, user_id, self._positions(tx, older, before, backwards=True), lazy=True),
                self._fill(tx, row.room, user_id, self._positions(tx, newer, after, backwards=False), lazy=True),
            )

        older, newer = await self._database.read(visit_both)
        return (
            Page(await self._take(row.room, older, changes), older.more),
            Page(await self._take(row.room, newer, changes), newer.more),
        )

    async def _take(self, room: int, visit: _Visit, changes: int) -> list[EventRow]:
        self._state.remember(visit.nodes)
        self._events.remember_all(visit.rows)
        self._relations.remember(room, visit.children, changes)
        rows = await self._events.by_positions(visit.positions)
        return [rows[position] for position in visit.positions if position in rows]

    # In a database thread:

    def _visit(self, tx: Cursor, ask: PageAsk) -> _Visit:
        positions = self._positions(tx, _stretch(tx, ask), ask.limit, backwards=ask.backwards)
        return self._fill(tx, ask.room, ask.user_id, positions, lazy=ask.lazy_members)

    @staticmethod
    def _positions(tx: Cursor, stretch: Stretch, limit: int, *, backwards: bool) -> tuple[list[tuple[int, str]], bool]:
        if limit <= 0:
            return [], False
        found = history_table.page(tx, stretch, limit + 1, backwards=backwards)
        return found[:limit], len(found) > limit

    def _fill(
        self, tx: Cursor, room: int, user_id: str, found: tuple[list[tuple[int, str]], bool], *, lazy: bool
    ) -> _Visit:
        listed, more = found
        visit = _Visit([position for position, _ in listed], more)
        absent = [position for position in visit.positions if not self._events.holds(position)]
        if absent:
            visit.rows = event_table.by_positions(tx, absent)
            self._prefetch(tx, room, user_id, visit, lazy=lazy)
        unknown = self._relations.unknown(room, (event_id for _, event_id in listed))
        if unknown:
            visit.children = self._relations.read(tx, room, unknown)
        return visit

    def _prefetch(self, tx: Cursor, room: int, user_id: str, visit: _Visit, *, lazy: bool) -> None:
        """The states that visibility and `unsigned` ask for, of the rows that were not in memory."""
        wanted: dict[tuple[NodeId, Slot], None] = {}
        view = [
            self._state.slot_in_thread("m.room.history_visibility", ""),
            self._state.slot_in_thread("m.room.member", user_id),
        ]
        for row in visit.rows:
            root = row.state_root
            if root is None or root == EMPTY_ROOT:
                continue
            wanted.update(dict.fromkeys((root, slot) for slot in view))
            event = row.event
            if event.state_key is not None:
                wanted[root, self._state.slot_in_thread(event.type, event.state_key)] = None
            if lazy:
                wanted[root, self._state.slot_in_thread("m.room.member", event.sender)] = None
        reader = self._state.loader_for(tx, room)
        reader.fetch(lambda load: _missing(load, wanted))
        positions = {state_trie.get(reader.load, root, slot) for root, slot in wanted}
        positions.update(row.redacted_by for row in visit.rows)
        known = {row.position for row in visit.rows}
        absent = [
            position
            for position in positions
            if position is not None and position not in known and not self._events.holds(position)
        ]
        visit.nodes = reader.found
        if absent:
            visit.rows = [*visit.rows, *event_table.by_positions(tx, absent)]


LAST_NEGATIVE = -(2**63)
"""No position is below it."""


def _missing(load: Load, wanted: Iterable[tuple[NodeId, Slot]]) -> set[NodeId]:
    """The nodes that the next look at any of these states will want."""
    by_root: dict[NodeId, list[Slot]] = {}
    for root, slot in wanted:
        by_root.setdefault(root, []).append(slot)
    missing: set[NodeId] = set()
    for root, slots in by_root.items():
        missing |= state_trie.missing_on_paths(load, root, slots)
    return missing


def _stretch(tx: Cursor, ask: PageAsk) -> Stretch:
    """The part of the history that a request is about.

    A sync token stands for all that came until then. Backwards from it nothing of that may be missed, although where
    the history had branches the newest of it need not lie deepest; forwards, nothing may be told twice.
    """
    low, high, floor, ceiling = FIRST, LAST, LAST_NEGATIVE, ask.ceiling
    start, stop = ask.start, ask.stop
    if isinstance(start, SyncToken):
        ends = history_table.ends_at(tx, ask.room, start.position)
        if ask.backwards:
            ceiling = min(ceiling, start.position)
            high = (max((depth for depth, _ in ends), default=0), LAST[1])
        else:
            floor = start.position
            low = (min((depth for depth, _ in ends), default=0) - 1, 0)
    elif start is not None:
        if ask.backwards:
            high = (start.depth, start.position)
        else:
            low = (start.depth, start.position)
    if stop is not None:
        place = place_of(tx, ask.room, stop)
        if ask.backwards:
            low = max(low, place)
        else:
            high = min(high, place)
    return Stretch(ask.room, low, high, floor, ceiling)


def place_of(tx: Cursor, room: int, token: Token) -> Place:
    """The place in a room's history that a token stands for."""
    if isinstance(token, PageToken):
        return token.depth, token.position
    ends = history_table.ends_at(tx, room, token.position)
    return ends[0] if ends else FIRST
