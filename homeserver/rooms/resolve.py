"""The state of a room where its history forks: asks the database what state resolution wants to know, in one visit.

The decisions are homeserver.core.state_res; this is the driver of its questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core import state_trie
from homeserver.core.ids import EventId
from homeserver.core.room_rules import RoomRules
from homeserver.core.state_res import Answer, AuthNode, Key, Question, resolve, run
from homeserver.core.state_trie import MissingNode, NodeId
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.resolutions import MOST_REMEMBERED, Overlay, StateChanges
from homeserver.rooms.state import NodeReader, StateStore
from homeserver.runtime.lru import Lru
from storage import auth_edges
from storage import events as event_table
from storage.database import Cursor, Database
from storage.rows import EventRow, Status


@dataclass(frozen=True, slots=True)
class Resolved:
    """A resolved state.

    `nodes` belong into `RoomChanges.nodes` of whatever event first leans on it: they may not be stored.
    """

    root: NodeId
    nodes: Mapping[NodeId, bytes]


class Resolver:
    """Resolves states, and remembers what came out."""

    def __init__(self, database: Database, state: StateStore, events: EventCache) -> None:
        self._database = database
        self._state = state
        self._events = events
        self._known: Lru[tuple[NodeId, ...], Resolved] = Lru(MOST_REMEMBERED)

    async def resolve(self, room: int, rules: RoomRules, roots: Iterable[NodeId]) -> Resolved:
        """The state of a room after several events, given the roots of the states after each of them."""
        distinct = tuple(sorted(set(roots)))
        if len(distinct) == 1:
            return Resolved(distinct[0], {})
        known = self._known.get(distinct)
        if known is not None:
            return known
        resolved, found, rows = await self._database.read(self._in_thread, room, rules, distinct)
        self._state.remember(found)
        self._events.remember_all(rows)
        self._known.put(distinct, resolved)
        return resolved

    async def changes(self, room: int, rules: RoomRules, roots: Sequence[NodeId], overlay: Overlay) -> StateChanges:
        """What makes any of these states the resolved one. `overlay`: what is not in the database yet."""
        changes, found, rows = await self._database.read(self._changes_in_thread, room, rules, roots, overlay)
        self._state.remember(found)
        self._events.remember_all(rows)
        return changes

    def _in_thread(
        self, tx: Cursor, room: int, rules: RoomRules, roots: Sequence[NodeId]
    ) -> tuple[Resolved, dict[NodeId, bytes], list[EventRow]]:
        resolution = _Resolution(tx, self._state, room, rules, roots, Overlay())
        resolved = resolution.resolved()
        return resolved, resolution.reader.found, resolution.read_rows

    def _changes_in_thread(
        self, tx: Cursor, room: int, rules: RoomRules, roots: Sequence[NodeId], overlay: Overlay
    ) -> tuple[StateChanges, dict[NodeId, bytes], list[EventRow]]:
        resolution = _Resolution(tx, self._state, room, rules, roots, overlay)
        return resolution.changes(), resolution.reader.found, resolution.read_rows


class _Resolution:
    """One resolution, in a database thread."""

    def __init__(
        self,
        tx: Cursor,
        state: StateStore,
        room: int,
        rules: RoomRules,
        roots: Sequence[NodeId],
        overlay: Overlay,
    ) -> None:
        self._tx = tx
        self._state = state
        self._room = room
        self._rules = rules
        self._roots = roots
        self.reader: NodeReader = state.loader_for(tx, room, overlay.nodes)
        self.rows: dict[int, EventRow] = {row.position: row for row in overlay.rows.values()}
        self.read_rows: list[EventRow] = []
        """What was read from the database."""
        self._by_id: dict[str, EventRow] = dict(overlay.rows)
        self._overlay = overlay

    def resolved(self) -> Resolved:
        first = self._roots[0]
        changes = self.changes()
        wanted = {
            self._state.slot_in_thread(*key): None if event_id is None else self._by_id[event_id].position
            for key, event_id in changes.items()
        }
        self.reader.fetch(lambda load: state_trie.missing_on_paths(load, first, wanted))
        while True:
            try:
                root, nodes = state_trie.update(self.reader.load, first, wanted)
            except MissingNode as missing:
                # Where an entry goes, the nodes beside its path may be needed to make one of them.
                self.reader.fetch_one(missing.node_id)
            else:
                return Resolved(root, nodes)

    def changes(self) -> StateChanges:
        """What makes any of the states the resolved one."""
        first = self._roots[0]
        for other in self._roots[1:]:
            self._fetch_difference(first, other)
        differing = state_trie.differing(self.reader.load, self._roots)
        self._read_positions({number for numbers in differing.values() for number in numbers if number is not None})
        conflicted: dict[Key, Sequence[EventId | None]] = {}
        for numbers in differing.values():
            rows = [None if number is None else self.rows[number] for number in numbers]
            key = next(row.event.key for row in rows if row is not None)
            conflicted[key] = [None if row is None else row.event.event_id for row in rows]
        changes = run(resolve(self._rules, conflicted), self._answer)
        self._read_ids([event_id for event_id in changes.values() if event_id is not None])
        return changes

    def _fetch_difference(self, one: NodeId, other: NodeId) -> None:
        self.reader.fetch(lambda load: state_trie.missing_in_diff(load, one, other))

    def _answer(self, question: Question) -> Answer:
        nodes = {
            EventId(event_id): AuthNode(tuple(map(EventId, auth)), rank)
            for event_id, (auth, rank) in (auth_edges.below(self._tx, question.nodes).items() if question.nodes else ())
        }
        for event_id in question.nodes:
            row = self._overlay.rows.get(event_id)
            if row is not None:
                nodes[event_id] = AuthNode(row.event.auth_events, row.rank)
        self._read_ids(question.events)
        events = {event_id: self._by_id[event_id] for event_id in question.events if event_id in self._by_id}
        return Answer(
            nodes=nodes,
            events={event_id: row.event for event_id, row in events.items()},
            rejected=[event_id for event_id, row in events.items() if row.status is Status.REJECTED],
            unconflicted=self._unconflicted(question.unconflicted),
            cited_by=self._citing(question.cited_by),
        )

    def _unconflicted(self, keys: Iterable[Key]) -> dict[Key, EventId]:
        wanted = list(keys)
        if not wanted:
            return {}
        positions = self.reader.positions(self._roots[0], [self._state.slot_in_thread(*key) for key in wanted])
        self._read_positions({position for position in positions if position is not None})
        return {
            key: self.rows[position].event.event_id
            for key, position in zip(wanted, positions, strict=True)
            if position is not None
        }

    def _citing(self, wanted: Mapping[EventId, int]) -> dict[EventId, list[EventId]]:
        """All that cite these events, without those that were told before."""
        if not wanted:
            return {}
        found = auth_edges.citing(self._tx, self._room, wanted)
        cited_by = {EventId(cited): [EventId(each) for each in by] for cited, by in found.items()}
        for row in self._overlay.rows.values():
            for cited in set(row.event.auth_events) & set(wanted) if row.event.is_state else ():
                cited_by.setdefault(cited, []).append(row.event.event_id)
        return {cited: sorted(by)[wanted[cited] :] for cited, by in cited_by.items()}

    def _read_positions(self, positions: set[int]) -> None:
        absent = positions - self.rows.keys()
        if absent:
            self._take(event_table.by_positions(self._tx, list(absent)))

    def _read_ids(self, event_ids: Iterable[str]) -> None:
        absent = [event_id for event_id in event_ids if event_id not in self._by_id]
        if absent:
            self._take(event_table.by_ids(self._tx, absent))

    def _take(self, rows: Iterable[EventRow]) -> None:
        for row in rows:
            self.rows[row.position] = row
            self.read_rows.append(row)
            self._by_id[row.event.event_id] = row
